#!/usr/bin/env python3
"""CPU time of TLS on a listener, beside nginx and Envoy.

    cargo build --release
    python3 benches/tls.py [--attache FILE] [--nginx FILE] [--envoy FILE]

Each proxy terminates TLS on loopback before the same plain upstream, with the same certificate, session tickets, one
worker thread, one injected header and no access log. A proxy that is missing is named and left out. The client makes

    new      full handshakes, with one GET each (of `plain`: connections)
    resumed  handshakes by session ticket, with one GET each; that each one resumes is verified
    kept     GETs on 16 kept-alive connections

The figure is CPU time of all threads of the proxy for one of these, from schedstat: clock ticks of 10 ms are too
coarse. Its ratios repeat on a busy machine. Wall time does not, and is bounded by the client, which is Python; --rates
shows it. The proxies take turns. A ratio is the median over the rounds of the ratio within one round, with the
quartiles. `memory` is the memory of a connection that has done one request and waits. The bench needs Linux and
openssl(1), takes less than two minutes, and uses free ports of loopback.
"""
import argparse, contextlib, os, pathlib, resource, select, shutil, signal, socket, ssl, statistics, subprocess, sys
import tempfile, threading, time

LINES = {  # name: (certificate, TLS version, what is measured)
    "plain": (None, None, ["memory", "new", "kept"]),
    "ecdsa-1.3": ("ecdsa", ssl.TLSVersion.TLSv1_3, ["memory", "new", "resumed", "kept"]),
    "ecdsa-1.2": ("ecdsa", ssl.TLSVersion.TLSv1_2, ["new", "resumed", "kept"]),
    "rsa-1.3": ("rsa", ssl.TLSVersion.TLSv1_3, ["new", "resumed", "kept"]),
}
KEYS = {"ecdsa": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], "rsa": ["rsa:2048"]}
THREADS, KEPT, IDLE = 4, 16, 500
END = b"<end>"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 204\r\n\r\n" + END.rjust(204, b"x")
SECRET = "Bearer 0123456789abcdef0123456789abcdef"

# Lines that end in `# TLS` are left out for `plain`.
ATTACHE = """
listen:
  outbound:
    address: 127.0.0.1:{port}
    tls: {{ certificate: {dir}/tls.crt, key: {dir}/tls.key }} # TLS
  webhooks: 127.0.0.1:0
  admin: 127.0.0.1:0
threads: 1
log: {{ access: "off" }}
accounts: {{ a: {{ authorization: {{ header: {{ name: Authorization, value: "{secret}" }} }} }} }}
services: {{ bench: {{ account: a, server_url: "http://127.0.0.1:{upstream}" }} }}
"""
NGINX = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log error; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 120s;
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d;
  scgi_temp_path {dir}/e;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port}
      ssl # TLS
      backlog=1024;
    ssl_certificate {dir}/tls.crt; ssl_certificate_key {dir}/tls.key; ssl_protocols TLSv1.2 TLSv1.3; # TLS
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Authorization "{secret}";
    }}
  }}
}}
"""
ENVOY = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - name: http
      transport_socket: # TLS
        name: tls # TLS
        typed_config: # TLS
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext # TLS
          common_tls_context: # TLS
            alpn_protocols: [http/1.1] # TLS
            tls_params: {{ tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3 }} # TLS
            tls_certificates: # TLS
            - {{ certificate_chain: {{ filename: {dir}/tls.crt }}, private_key: {{ filename: {dir}/tls.key }} }} # TLS
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          codec_type: HTTP1
          generate_request_id: false
          http_filters:
          - name: router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_add:
              - {{ header: {{ key: Authorization, value: "{secret}" }}, append_action: OVERWRITE_IF_EXISTS_OR_ADD }}
              routes: [ {{ match: {{ prefix: / }}, route: {{ cluster: up }} }} ]
  clusters:
  - name: up
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {upstream} }} }} }}
"""
# Name: configuration, its file's name, arguments.
PROXIES = {
    "attache": (ATTACHE, "attache.yaml", ["run", "-c", "{file}"]),
    "nginx": (NGINX, "nginx.conf", ["-p", "{dir}", "-e", "{dir}/error.log", "-c", "{file}"]),
    "envoy": (ENVOY, "envoy.yaml", ["-c", "{file}", "--concurrency", "1", "-l", "error", "--disable-hot-restart"]),
}


class Proxy:
    def __init__(self, name, binary, work, certificate, upstream):
        template, file, arguments = PROXIES[name]
        # attache watches its file's folder and the one above: each proxy has its own, two levels deep.
        folder = work / f"{name}-{certificate}" / "config"
        folder.mkdir(parents=True)
        if certificate:
            for end in ("crt", "key"):
                shutil.copy(work / f"{certificate}.{end}", folder / f"tls.{end}")
        else:
            template = "\n".join(line for line in template.splitlines() if not line.endswith("# TLS"))
        self.name, self.port = name, free_port()
        values = {"dir": folder, "file": folder / file, "port": self.port, "upstream": upstream, "secret": SECRET}
        (folder / file).write_text(template.format(**values))
        self.log = work / f"{name}-{certificate}.log"
        with open(self.log, "wb") as log:
            command = [binary] + [argument.format(**values) for argument in arguments]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait(self, context):
        deadline = time.monotonic() + 20
        while True:
            try:
                return get(context, self).close()
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"{self.name} does not serve: {error}\n{self.log.read_text()[-2000:]}") from error
                time.sleep(0.05)

    def tree(self):
        found = [self.process.pid]
        for pid in found:
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu(self):
        """Nanoseconds on a CPU, without what a hypervisor took."""
        stats = [task / "schedstat" for pid in self.tree() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
        return sum(int(stat.read_text().split()[0]) for stat in stats)

    def memory(self):
        """KiB, with its share of shared pages."""
        rollups = "".join(pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.tree())
        return sum(int(line.split()[1]) for line in rollups.splitlines() if line.startswith("Pss:"))

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Failed(Exception):
    pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def upstream():
    """A plain HTTP server in a process of its own, which answers each request with the same 204 bytes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    child = os.fork()
    if child == 0:
        try:
            serve(listener)
        finally:
            os._exit(1)
    try:
        yield listener.getsockname()[1]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def serve(listener):
    poll, connections = select.epoll(), {listener.fileno(): listener}
    poll.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = connection
                poll.register(connection, select.EPOLLIN)
                continue
            try:
                # A GET of a few headers arrives whole.
                if connections[fd].recv(65536):
                    connections[fd].sendall(RESPONSE)
                    continue
            except ConnectionError:
                pass
            connections.pop(fd).close()


def client(version):
    """Returns the settings of the client, or None for plain HTTP."""
    if version is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    # For TLS 1.2. Of 1.3's own list OpenSSL's client prefers the same.
    context.set_ciphers("ECDHE+AES256+AESGCM")
    return context


def request(proxy):
    path = "/bench/" if proxy.name == "attache" else "/"
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()


def get(context, proxy, session=None):
    """Returns a new connection, after one GET."""
    tcp = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = context.wrap_socket(tcp, session=session) if context else tcp
    if context and connection.session_reused != (session is not None):
        raise Failed(f"{proxy.name}: a handshake that should be {'resumed' if session else 'new'} is not")
    connection.sendall(request(proxy))
    read = b""
    while not read.endswith(END):
        data = connection.recv(65536)
        if not data:
            raise ConnectionError(f"{proxy.name} closed the connection")
        read += data
    if not read.startswith(b"HTTP/1.1 200"):
        raise Failed(f"{proxy.name} answered {read.splitlines()[0]}")
    return connection


def close(connection):
    """Sends close_notify, as other clients do, and does not wait for the proxy's."""
    connection.setblocking(False)
    if isinstance(connection, ssl.SSLSocket):
        with contextlib.suppress(OSError):
            connection.unwrap()
    connection.close()


@contextlib.contextmanager
def handshakes(context, proxy, count, resume):
    """Yields a function that makes `count` connections with one GET each, THREADS at a time."""
    sessions, failures = [None] * THREADS, []
    if resume:
        for index in range(THREADS):
            connection = get(context, proxy)
            sessions[index] = connection.session
            close(connection)

    def run(session):
        try:
            for _ in range(count // THREADS):
                connection = get(context, proxy, session)
                session = connection.session if resume else None
                close(connection)
        except (OSError, Failed) as error:
            failures.append(error)

    def work():
        threads = [threading.Thread(target=run, args=(session,)) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    yield work


@contextlib.contextmanager
def kept(context, proxy, count):
    """Yields a function that makes `count` GETs on KEPT connections, which are open already."""
    connections = [get(context, proxy) for _ in range(KEPT)]
    by_fd = {connection.fileno(): connection for connection in connections}
    message = request(proxy)

    def work():
        poll, started, done, tails = select.epoll(), len(by_fd), 0, dict.fromkeys(by_fd, b"")
        for fd, connection in by_fd.items():
            connection.setblocking(False)
            poll.register(fd, select.EPOLLIN)
            connection.send(message)
        while done < count:
            ready = poll.poll(10)
            if not ready:
                raise Failed(f"{proxy.name}: no response for 10 s")
            for fd, _ in ready:
                try:
                    data = by_fd[fd].recv(65536)
                except (ssl.SSLWantReadError, BlockingIOError):
                    continue
                if not data:
                    raise Failed(f"{proxy.name} closed a kept-alive connection")
                tails[fd] = (tails[fd] + data)[-len(END):]
                if tails[fd] != END:
                    continue
                done, tails[fd] = done + 1, b""
                if started < count:
                    by_fd[fd].send(message)
                    started += 1

    yield work
    for connection in connections:
        close(connection)


def measure(kind, context, proxy, options):
    """Returns microseconds of CPU, and of wall time, for one unit."""
    count = options.requests if kind == "kept" else options.handshakes
    load = kept(context, proxy, count) if kind == "kept" else handshakes(context, proxy, count, kind == "resumed")
    with load as work:
        time.sleep(0.02)  # The proxy finishes with earlier connections.
        cpu, wall = proxy.cpu(), time.monotonic()
        work()
        wall = time.monotonic() - wall
        time.sleep(0.02)
        cpu = proxy.cpu() - cpu
    return cpu / count / 1e3, wall / count * 1e6


def memory(context, proxy):
    close(get(context, proxy))
    before = proxy.memory()
    connections = [get(context, proxy) for _ in range(IDLE)]
    time.sleep(0.2)
    after = proxy.memory()
    for connection in connections:
        close(connection)
    return (after - before) / IDLE


def compared(title, unit, rounds):
    """Prints the first proxy's median, and the others' ratios to it."""
    (base, own), *others = rounds.items()
    cells = [f"{base} {statistics.median(own):.1f} {unit}"]
    for name, values in others:
        ratios = [value / mine for value, mine in zip(values, own)]
        if len(ratios) == 1:
            cells.append(f"{name} {ratios[0]:.2f}")
            continue
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        cells.append(f"{name} {middle:.2f} ({low:.2f}–{high:.2f})")
    print(f"  {title:12}", *(f"{cell:26}" for cell in cells), flush=True)


def line(name, binaries, work, port, options):
    certificate, version, kinds = LINES[name]
    context = client(version)
    proxies = []
    try:
        for proxy, binary in binaries.items():
            proxies.append(Proxy(proxy, binary, work, certificate, port))
        for proxy in proxies:
            proxy.wait(context)
        ciphers = [get(context, proxy).cipher()[0] for proxy in proxies] if context else []
        print(f"{name}:", *ciphers)
        if "memory" in kinds:
            compared("memory", "KiB", {proxy.name: [memory(context, proxy)] for proxy in proxies})
        loads = [kind for kind in kinds if kind != "memory"]
        results = {kind: [{proxy.name: [] for proxy in proxies} for _ in range(2)] for kind in loads}
        start, number = time.monotonic(), 0
        while number < 3 or number < options.rounds and time.monotonic() - start < options.seconds:
            turn = number % len(proxies)
            for kind in loads:
                for proxy in proxies[turn:] + proxies[:turn]:
                    for times, value in zip(results[kind], measure(kind, context, proxy, options)):
                        times[proxy.name].append(value)
            number += 1
        for kind, (cpu, wall) in results.items():
            compared(kind, "µs CPU", cpu)
            if options.rates:
                compared("", "/s", {name: [1e6 / value for value in values] for name, values in wall.items()})
    finally:
        for proxy in proxies:
            proxy.stop()
        for folder in work.glob(f"*-{certificate}"):
            shutil.rmtree(folder)


def make_certificates(work):
    for name, key in KEYS.items():
        subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=IP:127.0.0.1", "-newkey", *key, "-out", work / f"{name}.crt", "-keyout",
                        work / f"{name}.key"], check=True, capture_output=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(__file__).resolve().parent.parent / "target/release/attache"
    binary = os.environ.get("ATTACHE_BIN", target)
    parser.add_argument("--attache", default=binary, help="default: $ATTACHE_BIN, or target/release/attache")
    parser.add_argument("--nginx", default="nginx", help="default: the one in PATH")
    parser.add_argument("--envoy", default="envoy", help="default: the one in PATH")
    parser.add_argument("--lines", nargs="+", choices=LINES, default=list(LINES))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--handshakes", type=int, default=100, help="of one round")
    parser.add_argument("--requests", type=int, default=2000, help="of one round, on kept-alive connections")
    parser.add_argument("--seconds", type=int, default=20, help="per line; three rounds are made in any case")
    parser.add_argument("--rates", action="store_true")
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 8192), limit))
    binaries = {}
    for name in PROXIES:
        # Debian keeps nginx where only root looks.
        binary = shutil.which(str(getattr(options, name)), path=f"{os.environ['PATH']}:/usr/sbin")
        if binary:
            binaries[name] = os.path.abspath(binary)
        else:
            print(f"{name} is missing ({getattr(options, name)}): left out; --{name} names its binary")
    if not binaries:
        sys.exit("nothing to measure")
    with tempfile.TemporaryDirectory() as folder, upstream() as port:
        work = pathlib.Path(folder)
        make_certificates(work)
        for name in options.lines:
            line(name, binaries, work, port, options)


if __name__ == "__main__":
    try:
        main()
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")

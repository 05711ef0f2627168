//! A name server on loopback that answers as a test scripts it.

use super::locked;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

const A: u16 = 1;
const AAAA: u16 = 28;

/// The answer to the queries of one family.
#[derive(Clone)]
pub(crate) enum DnsReply {
    /// These addresses of the family, with this TTL in seconds. None of the family: no records.
    Records(Vec<IpAddr>, u32),
    /// A response code without records.
    Code(u8),
    /// No answer.
    Silence,
    /// An answer as soon as the test opens the gate.
    Gated(Vec<IpAddr>, u32, watch::Receiver<bool>),
}

pub(crate) const SERVFAIL: DnsReply = DnsReply::Code(2);
pub(crate) const NXDOMAIN: DnsReply = DnsReply::Code(3);
pub(crate) const REFUSED: DnsReply = DnsReply::Code(5);

#[derive(Clone)]
struct Script {
    v4: DnsReply,
    v6: DnsReply,
}

pub(crate) struct NameServer {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    /// Number of A queries so far.
    queries: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl NameServer {
    pub(crate) async fn start(reply: DnsReply) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a socket"));
        let address = socket.local_addr().expect("an address");
        let script = Arc::new(Mutex::new(Script { v4: reply.clone(), v6: reply }));
        let queries = Arc::new(AtomicUsize::new(0));
        let mut task = JoinSet::new();
        task.spawn(serve(socket, Arc::clone(&script), Arc::clone(&queries)));
        Self { address, script, queries, _task: task }
    }

    pub(crate) fn reply(&self, reply: DnsReply) {
        *locked(&self.script) = Script { v4: reply.clone(), v6: reply };
    }

    pub(crate) fn reply_by_family(&self, v4: DnsReply, v6: DnsReply) {
        *locked(&self.script) = Script { v4, v6 };
    }

    /// Returns the number of lookups so far.
    pub(crate) fn lookups(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }

    /// Returns a resolver's configuration with only this server, which gives up after `timeout`.
    pub(crate) fn config(&self, timeout: Duration) -> (ResolverConfig, ResolverOpts) {
        let mut connection = ConnectionConfig::new(ProtocolConfig::Udp);
        connection.port = self.address.port();
        let server = NameServerConfig::new(self.address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.attempts = 0;
        options.use_hosts_file = ResolveHosts::Never;
        (config, options)
    }
}

async fn serve(socket: Arc<UdpSocket>, script: Arc<Mutex<Script>>, queries: Arc<AtomicUsize>) {
    let mut answers = JoinSet::new();
    let mut buffer = [0; 1500];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.expect("a query");
        let (query, family) = question(&buffer[..length]);
        let script = locked(&script).clone();
        let reply = if family == A { script.v4 } else { script.v6 };
        queries.fetch_add(usize::from(family == A), Ordering::SeqCst);
        let socket = Arc::clone(&socket);
        answers.spawn(async move {
            let (code, records, ttl) = match reply {
                DnsReply::Silence => return,
                DnsReply::Code(code) => (code, Vec::new(), 0),
                DnsReply::Records(records, ttl) => (0, records, ttl),
                DnsReply::Gated(records, ttl, mut gate) => {
                    gate.wait_for(|open| *open).await.expect("a gate");
                    (0, records, ttl)
                }
            };
            let response = response(&query, family, code, &records, ttl);
            socket.send_to(&response, client).await.expect("sends");
        });
    }
}

/// Returns header and question of a query, and the requested type.
fn question(query: &[u8]) -> (Vec<u8>, u16) {
    let mut end = 12;
    while query[end] != 0 {
        end += 1 + usize::from(query[end]);
    }
    let family = u16::from_be_bytes([query[end + 1], query[end + 2]]);
    assert!(family == A || family == AAAA, "unexpected type {family}");
    (query[..end + 5].to_vec(), family)
}

fn response(query: &[u8], family: u16, code: u8, records: &[IpAddr], ttl: u32) -> Vec<u8> {
    let records: Vec<_> = records.iter().filter(|ip| ip.is_ipv4() == (family == A)).collect();
    let mut response = query.to_vec();
    // A response, recursion desired and available; one question, the answers, nothing else.
    response[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    response[6..12].copy_from_slice(&[0, u8::try_from(records.len()).expect("few records"), 0, 0, 0, 0]);
    for ip in records {
        // A pointer to the name of the question, the type, the class IN.
        response.extend([0xc0, 12]);
        response.extend(family.to_be_bytes());
        response.extend([0, 1]);
        response.extend(ttl.to_be_bytes());
        let data = match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        response.extend([0, u8::try_from(data.len()).expect("an address")]);
        response.extend(data);
    }
    response
}

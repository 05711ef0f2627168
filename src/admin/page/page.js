// Keeps the page up to date: puts the elements that the server sends in the place of those with the same id, and lets the
// filter answer while it is typed. The page is complete without it.
"use strict";
(() => {
  const live = document.getElementById("live");
  const pause = document.getElementById("pause");
  const announcements = document.getElementById("announcements");
  const filter = document.getElementById("filter");
  const clear = document.getElementById("clear");
  let stream = null;
  let isPaused = false;
  // True after an element was not replaced, since text in it was selected.
  let isBehind = false;
  let timer = 0;

  // Says nothing twice: a screen reader reads every change.
  function say(state, text) {
    if (live.dataset.state !== state) {
      live.dataset.state = state;
      live.textContent = text;
    }
  }

  function announce(text) {
    announcements.textContent = text;
  }

  function isInUse(element) {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && selection.containsNode(element, true);
  }

  // Returns the element that an HTML text describes. A template takes rows without their table.
  function parse(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  }

  function put(element) {
    const old = element && document.getElementById(element.id);
    if (!old || old.isEqualNode(element)) return;
    if (isInUse(old)) {
      isBehind = true;
      return;
    }
    // Two reloads may end the same way.
    if (element.dataset.announce && element.dataset.reload !== old.dataset.reload) {
      announce(element.dataset.announce);
    }
    const scrolled = old.querySelector("pre")?.scrollTop;
    element.querySelectorAll("details").forEach((details, at) => {
      details.open = old.querySelectorAll("details")[at]?.open ?? false;
    });
    const places = "a, pre, summary";
    const focused = [...old.querySelectorAll(places)].indexOf(document.activeElement);
    old.replaceWith(element);
    if (scrolled) element.querySelector("pre")?.scrollTo(0, scrolled);
    if (focused >= 0) element.querySelectorAll(places)[focused]?.focus({ preventScroll: true });
  }

  function close() {
    clearTimeout(timer);
    if (stream) stream.close();
    stream = null;
  }

  function open() {
    close();
    if (isPaused || document.hidden) return;
    stream = new EventSource(`events${location.search}`);
    stream.addEventListener("version", (event) => {
      if (event.data !== document.documentElement.dataset.version) location.reload();
      clearTimeout(timer);
      say("live", "Live");
    });
    stream.addEventListener("elements", (event) => JSON.parse(event.data).forEach((html) => put(parse(html))));
    stream.addEventListener("error", () => {
      const isClosed = stream.readyState === EventSource.CLOSED;
      clearTimeout(timer);
      // A stream has an end, and the browser opens the next one at once: no news unless that fails.
      timer = setTimeout(() => {
        say("lost", "Connection lost, trying again");
        if (isClosed) timer = setTimeout(open, 5000);
      }, 3000);
    });
  }

  // Shows what another query asks for, without leaving the field that is typed into. An answer that comes after the
  // next question is not shown.
  let asked = 0;
  async function show(url) {
    const question = ++asked;
    const response = await fetch(url);
    const text = response.ok && await response.text();
    if (!text || question !== asked) return;
    const page = new DOMParser().parseFromString(text, "text/html");
    clear.hidden = page.getElementById("clear").hidden;
    history.replaceState(null, "", url);
    page.querySelectorAll("main > section").forEach((section) => put(document.adoptNode(section)));
    announce(["services", "accounts", "webhooks"].map((id) => {
      return document.getElementById(`${id}-title`).textContent;
    }).join(", "));
    open();
  }

  function ask() {
    const query = new URLSearchParams(new FormData(filter));
    if (!query.get("q")) query.delete("q");
    const text = query.toString();
    show(text ? `?${text}` : location.pathname).catch(() => say("lost", "Connection lost, trying again"));
  }

  let typing = 0;
  filter.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(ask, 200);
  });
  filter.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    ask();
  });

  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Resume" : "Pause";
    if (isPaused) say("paused", "Paused");
    else say("waiting", "Connecting");
    open();
  });
  // A new stream begins with all sections.
  document.addEventListener("selectionchange", () => {
    if (isBehind && document.getSelection().isCollapsed) {
      isBehind = false;
      open();
    }
  });
  // A tab that is not looked at takes no stream.
  document.addEventListener("visibilitychange", open);
  open();
})();

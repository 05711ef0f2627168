use super::super::report::Report;
use super::super::testing;
use super::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use tokio::task::JoinSet;

/// A view whose hash is the number of its reports.
#[derive(Default)]
struct Counting {
    reports: AtomicUsize,
    draining: AtomicBool,
    still: AtomicBool,
}

impl View for Counting {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> bool {
        !self.draining.load(Relaxed)
    }

    fn report(&self) -> Report {
        let number = self.reports.fetch_add(1, Relaxed);
        let mut report = testing::empty();
        if !self.still.load(Relaxed) {
            report.config.hash = format!("hash-{number}");
        }
        report
    }

    fn access(&self) -> crate::admin::Access {
        crate::admin::Access::default()
    }

    fn key_set(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn end_step(&self) {}

    fn metrics(&self) -> String {
        String::new()
    }
}

struct Running {
    live: Arc<Live>,
    view: Arc<Counting>,
    _task: JoinSet<()>,
}

fn running() -> Running {
    let (live, view) = (Arc::new(Live::default()), Arc::new(Counting::default()));
    let mut task = JoinSet::new();
    let (runner, shown) = (Arc::clone(&live), Arc::clone(&view) as Arc<dyn View>);
    task.spawn(async move { runner.run(shown).await });
    Running { live, view, _task: task }
}

impl Running {
    fn open(&self, query: &str) -> Option<Events> {
        self.live.open(Query::parse(query), Instant::now())
    }
}

impl Events {
    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        self.messages.recv().await.map(|event| String::from_utf8(event.to_vec()).unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_event_is_the_version_then_all_sections_then_what_differs() {
    let running = running();
    let mut events = running.open("").unwrap();
    assert_eq!(
        events.next().await.unwrap(),
        format!("retry: 1000\nevent: version\ndata: {}\n\n", page::version())
    );
    let all = events.next().await.unwrap();
    let data = all.strip_prefix("event: elements\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    let elements: Vec<String> = serde_json::from_str(data).unwrap();
    assert_eq!((elements.len(), data.lines().count()), (7, 1));
    let next = events.next().await.unwrap();
    assert!(next.contains("hash-1") && !next.contains("Webhooks"), "{next}");
}

#[tokio::test(start_paused = true)]
async fn without_a_stream_nothing_is_done_and_with_many_once_a_second() {
    let running = running();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(running.view.reports.load(Relaxed), 0);
    let mut streams: Vec<Events> = ["", "", "q=a"].map(|query| running.open(query).unwrap()).into();
    for _ in 0..12 {
        for events in &mut streams {
            events.next().await.unwrap();
        }
    }
    // One event each is the version.
    let reports = running.view.reports.load(Relaxed);
    assert!((11..=12).contains(&reports), "{reports}");
    drop(streams);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let reports = running.view.reports.load(Relaxed);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(running.view.reports.load(Relaxed), reports);
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_and_give_their_places_up() {
    let running = running();
    let streams: Vec<Events> = std::iter::from_fn(|| running.open("")).collect();
    assert_eq!(streams.len(), STREAMS);
    drop(streams);
    // At once, not with the next update; and what is closed is not kept until then.
    for _ in 0..10 * STREAMS {
        assert!(running.open("").is_some());
    }
    assert!(running.live.streams().len() <= STREAMS);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_it_is_old_and_at_a_drain() {
    let running = running();
    running.view.still.store(true, Relaxed);
    let (mut events, opened) = (running.open("").unwrap(), Instant::now());
    let mut comments = 0;
    while let Some(event) = events.next().await {
        comments += usize::from(event == ":\n\n");
    }
    let age = opened.elapsed();
    assert!((LIFE..LIFE + Duration::from_secs(3)).contains(&age), "{age:?}");
    assert!((12..=16).contains(&comments), "{comments}");

    let mut events = running.open("").unwrap();
    events.next().await.unwrap();
    events.next().await.unwrap();
    let draining = Instant::now();
    running.view.draining.store(true, Relaxed);
    assert_eq!(events.next().await, None);
    assert!(draining.elapsed() <= 2 * LOOK, "{:?}", draining.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_gets_the_difference_later() {
    let running = running();
    let mut events = running.open("").unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (_version, all) = (events.next().await.unwrap(), events.next().await.unwrap());
    assert!(all.contains("hash-0"), "{all}");
    let next = events.next().await.unwrap();
    let reports = running.view.reports.load(Relaxed);
    assert!(reports > 50 && next.contains(&format!("hash-{}", reports - 1)), "{reports}: {next}");
}

//! `dagop explore` in a real browser: what the page shows is what the ledger
//! says, everything works from the keyboard, and nobody else is asked.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
};

use dagop::event::{
    BuildEnd, BuildFinished, BuildStarted, CallEnd, CallFinished, CallStarted, Event, Lowered,
    PlannedVertex, VertexUpdate,
};
use dagop::ledger::{DagOpKind, Ledger, VertexKind, path_in};
use integration::{
    browser::{Browser, key},
    daemon,
    dagop::Dagop,
    process::Process,
};
use serde_json::Value;

/// Steps of the build that must stay fluid.
const MANY: u64 = 5000;

/// The text of a step that would be markup, if anybody took it for that.
const HOSTILE: &str = "withExec(args: [\"</script><img src=x onerror=document.title='taken'>\"])";

/// Pixels of each colour of the style sheet on the first canvas.
const COLOURS: &str = "(() => {
  const canvas = document.querySelector('canvas');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const counts = new Map();
  for (let at = 0; at < data.length; at += 4) {
    const colour = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2];
    if (data[at + 3] === 255) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  const style = getComputedStyle(document.documentElement);
  const of = (button) => {
    const name = button.dataset.outcome.replace(' ', '-');
    return counts.get(Number.parseInt(style.getPropertyValue(`--${name}`).trim().slice(1), 16)) ?? 0;
  };
  return Object.fromEntries([...document.querySelectorAll('#legend button')].map((b) => [b.dataset.outcome, of(b)]));
})()";

/// Milliseconds between frames while something moves: median, 95th of 100, worst.
const FRAMES: &str = "(async () => {
  const canvas = document.querySelector('canvas');
  const wheel = (options) => canvas.dispatchEvent(new WheelEvent('wheel', { cancelable: true, clientX: 400, clientY: 300, ...options }));
  const measure = async (move) => {
    const gaps = [];
    let last = performance.now();
    for (let frame = 0; frame < 60; frame += 1) {
      move(frame);
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      gaps.push(now - last);
      last = now;
    }
    gaps.sort((a, b) => a - b);
    return [gaps[30], gaps[57], gaps[59]].map(Math.round);
  };
  document.getElementById('fit').click();
  const rows = document.querySelector('.rows');
  const axis = (options) => rows.dispatchEvent(new WheelEvent('wheel', { cancelable: true, clientX: 600, clientY: 700, ...options }));
  return {
    pan_all: await measure(() => wheel({ deltaX: 8, deltaY: 6 })),
    zoom: await measure((frame) => wheel({ deltaY: frame < 30 ? -40 : 20, ctrlKey: true })),
    pan_near: await measure(() => wheel({ deltaX: 20, deltaY: 40 })),
    scroll_list: await measure(() => { rows.scrollTop += 400; }),
    zoom_time: await measure((frame) => axis({ deltaY: frame < 30 ? -40 : 40, ctrlKey: true })),
  };
})()";

/// What lies over something else that it hides: buttons over a graph, labels over each other.
const HIDDEN: &str = "(() => {
  const box = (element) => element.getBoundingClientRect();
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const shown = (list) => [...list].filter((element) => box(element).width > 0);
  const found = [];
  for (const tools of shown(document.querySelectorAll('.tools'))) {
    for (const other of shown(document.querySelectorAll('canvas, .axis, #order, figcaption'))) {
      if (meet(box(tools), box(other))) found.push(`${tools.getAttribute('aria-label')} over ${other.id || other.className || other.tagName}`);
    }
  }
  const labels = shown(document.querySelectorAll('.axis span'));
  labels.forEach((label, at) => {
    if (at > 0 && meet(box(labels[at - 1]), box(label))) found.push(`${labels[at - 1].textContent} over ${label.textContent}`);
  });
  const texts = labels.map((label) => label.textContent);
  if (new Set(texts).size < texts.length) found.push(`equal labels: ${texts}`);
  if (texts.length < 2) found.push(`few labels: ${texts}`);
  return found;
})()";

/// The widths of the bars in the list, in pixels.
const BARS: &str = "[...document.querySelectorAll('.row:not([hidden]) .bar.a:not([hidden])')].map((bar) => Math.round(bar.getBoundingClientRect().width))";

/// A running `dagop explore`.
struct Explorer {
    _process: Process,
    url: String,
}

impl Explorer {
    fn start(user: &Dagop, arguments: &[&str]) -> Self {
        let mut command = user.command(["explore", "--no-open"]).unwrap();
        command.args(arguments);
        let mut process = Process::of(command.spawn().unwrap());
        let stdout = process.child().stdout.take().unwrap();
        let mut url = String::new();
        BufReader::new(stdout).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Self {
            _process: process,
            url: url.trim_end().to_owned(),
        }
    }

    /// `http://127.0.0.1:PORT/KEY/`
    fn base(&self) -> &str {
        self.url.split('?').next().unwrap()
    }
}

/// Waits until the page shows a build, with everything drawn.
fn show(browser: &Browser, url: &str) {
    browser.open(url).unwrap();
    browser
        .until("document.querySelectorAll('#legend button').length > 0")
        .unwrap();
    drawn(browser);
}

/// Waits until what was changed is drawn.
fn drawn(browser: &Browser) {
    browser.until("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))").unwrap();
}

/// Nothing hides anything, and pictures of it: light, then dark.
fn photograph(browser: &Browser, name: &str) {
    for theme in ["", "-dark"] {
        drawn(browser);
        assert_eq!(
            browser.value(HIDDEN).unwrap(),
            serde_json::json!([]),
            "{name}{theme}"
        );
        browser
            .screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}{theme}.png")))
            .unwrap();
        browser
            .value("document.getElementById('theme').click()")
            .unwrap();
    }
    drawn(browser);
}

/// The list's own keys: a shorter time, along it, and all of it again.
fn walk_through_time(browser: &Browser) {
    let widest = || -> u64 {
        drawn(browser);
        let widths: Vec<u64> = serde_json::from_value(browser.value(BARS).unwrap()).unwrap();
        widths.into_iter().max().unwrap_or(0)
    };
    // Out of the search, into the list.
    browser.press(&[key::ESCAPE, key::ESCAPE, "t"]).unwrap();
    let all = widest();
    browser.press(&["+", "+"]).unwrap();
    assert!(widest() > all, "{all} pixels");
    assert_eq!(browser.value(HIDDEN).unwrap(), serde_json::json!([]));
    let first = "document.querySelector('.axis span').textContent";
    let before = browser.text(".axis span:last-child").unwrap();
    browser.press(&[key::RIGHT]).unwrap();
    drawn(browser);
    assert_ne!(browser.text(".axis span:last-child").unwrap(), before);
    browser.press(&["0"]).unwrap();
    assert_eq!(widest(), all);
    assert_eq!(browser.value(first).unwrap(), "0");
}

/// The page was content, and asked this server alone.
fn assert_quiet(browser: &Browser, explorer: &Explorer) {
    assert_eq!(browser.complaints().unwrap(), Vec::<String>::new());
    let requests = browser.requests().unwrap();
    assert!(
        requests.len() > 10,
        "the log of requests works: {requests:?}"
    );
    for address in requests {
        let own =
            address.starts_with(explorer.base()) || address == "data:," || address == "about:blank";
        assert!(own, "asked for {address}");
    }
}

fn run(user: &Dagop, word: &str, flags: &[&str]) -> Value {
    let text = "query Build($tools: ContainerID!, $word: String!) {
      loadContainerFromID(id: $tools) {
        withNewFile(path: \"/word\", contents: $word) { withExec(args: [\"busybox\", \"cat\", \"/word\"]) { stdout } }
      }
    }";
    let mut command = user.command_with_tools(text, &[("word", word)]).unwrap();
    command.args(flags);
    integration::dagop::finish(command).unwrap().json().unwrap()["report"].take()
}

/// Digests of a vertex's records and of the layers on top of their results that a text does not
/// have. The exported cache has both.
fn missing_of_cache<'a>(cache: &'a Value, vertex: &Value, text: &str) -> Vec<&'a str> {
    let records = cache["records"].as_array().unwrap().iter();
    let records: Vec<&Value> = records
        .filter(|record| record["vertex"] == *vertex)
        .collect();
    assert!(records.iter().any(|record| record["evidence"] == "local"));
    let mut digests: Vec<&str> = Vec::new();
    for record in records {
        digests.extend(record["digest"].as_str());
        if let Some(layer) = record["layer"].as_u64() {
            let layer = &cache["layers"][usize::try_from(layer).unwrap()];
            let names = ["blob", "diff_id", "chain_id"];
            digests.extend(names.iter().filter_map(|name| layer[*name].as_str()));
        }
    }
    assert!(digests.len() >= 5, "records and layers: {digests:?}");
    digests.retain(|digest| !text.contains(digest));
    digests
}

fn counts(browser: &Browser) -> BTreeMap<String, u64> {
    let buttons = "Object.fromEntries([...document.querySelectorAll('#legend button')].map((b) => \
        [b.dataset.outcome, Number(b.querySelector('.count').textContent)]))";
    serde_json::from_value(browser.value(buttons).unwrap()).unwrap()
}

#[test]
fn the_page_shows_a_real_build_and_is_driven_by_keys() {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap();
    // A word that no build before had, so that something is executed.
    let word = user.home().display().to_string();
    let report = run(
        &user,
        &word,
        &["--export-cache", "type=local,dest=cache,mode=max"],
    );
    let explorer = Explorer::start(&user, &[]);
    let browser = Browser::start().unwrap();
    show(&browser, &explorer.url);

    let expected = &report["summary"]["calls_by_outcome"];
    assert_eq!(serde_json::to_value(counts(&browser)).unwrap(), *expected);
    browser.press(&["0"]).unwrap();
    drawn(&browser);
    let pixels: BTreeMap<String, u64> =
        serde_json::from_value(browser.value(COLOURS).unwrap()).unwrap();
    assert!(
        pixels.values().all(|pixels| *pixels > 20),
        "every outcome has its colour: {pixels:?}"
    );

    let calls = report["calls"].as_array().unwrap();
    let exec = calls
        .iter()
        .find(|call| call["display"].as_str().unwrap().starts_with("withExec"))
        .unwrap();
    search_and_read(&browser, &report, exec);
    photograph(&browser, "explore");
    walk_through_time(&browser);
    browser
        .value("(() => { const all = document.getElementById('details'); all.scrollTop = all.scrollHeight; })()")
        .unwrap();
    browser
        .screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("explore-records.png"))
        .unwrap();
    walk_through_the_graph(&browser);
    let digits = exec["call_key"]
        .as_str()
        .unwrap()
        .split(':')
        .nth(1)
        .unwrap();
    browser.value(&format!("(() => {{ const s = document.getElementById('search'); s.value = '{}'; s.dispatchEvent(new Event('input')); }})()", &digits[..12])).unwrap();
    assert_eq!(
        browser.text("#found").unwrap(),
        format!("1 of {}", calls.len())
    );

    // The vertices, from the daemon's side.
    browser.press(&[key::ESCAPE, "c"]).unwrap();
    let expected = &report["summary"]["vertices_by_outcome"];
    assert_eq!(serde_json::to_value(counts(&browser)).unwrap(), *expected);
    assert_quiet(&browser, &explorer);
}

/// Search, and the first match with all its keys.
fn search_and_read(browser: &Browser, report: &Value, exec: &Value) {
    browser
        .press(&["/", "w", "i", "t", "h", "e", "x", "e", "c", key::ENTER])
        .unwrap();
    assert_eq!(browser.text("#details h2").unwrap(), "withExec");
    // What is called on it has its name in the path.
    let calls = report["calls"].as_array().unwrap();
    let named = calls.iter().filter(|call| {
        ["display", "path"].iter().any(|column| {
            let text = call[*column].as_str().unwrap();
            text.to_lowercase().contains("withexec")
        })
    });
    assert_eq!(
        browser.text("#found").unwrap(),
        format!("{} of {}", named.count(), calls.len())
    );
    let details = browser.text("#details").unwrap().replace('\n', "");
    for column in ["call_key", "canonical", "predicted_cache_map"] {
        let digest = exec[column].as_str().unwrap();
        assert!(details.contains(digest), "{column} {digest} in {details}");
    }
    assert!(details.to_lowercase().contains("executed"), "{details}");
    assert_eq!(
        missing_of_cache(&report["cache"], &exec["vertex"], &details),
        [""; 0]
    );
    let cause = browser.text("#details .reason").unwrap();
    assert!(cause.starts_with("no earlier build on "), "{cause}");
}

/// Along the edges and back; Enter and Esc.
fn walk_through_the_graph(browser: &Browser) {
    browser.press(&["g", key::UP]).unwrap();
    assert_ne!(browser.text("#details h2").unwrap(), "withExec");
    browser.press(&[key::DOWN]).unwrap();
    assert_eq!(browser.text("#details h2").unwrap(), "withExec");
    browser.press(&[key::ENTER]).unwrap();
    assert_eq!(
        browser
            .value("document.activeElement.closest('aside')?.id")
            .unwrap(),
        "details"
    );
    browser.press(&[key::ESCAPE]).unwrap();
    assert_eq!(
        browser.value("document.activeElement.tagName").unwrap(),
        "CANVAS"
    );
}

#[test]
fn two_builds_stand_side_by_side() {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap();
    let home = user.home().display().to_string();
    let ids = ["one", "two"].map(|word| {
        let report = run(&user, &format!("{home} {word}"), &[]);
        report["build"]["id"].as_str().unwrap().to_owned()
    });
    let explorer = Explorer::start(&user, &[&ids[0], "--against", &ids[1]]);
    let browser = Browser::start().unwrap();
    show(&browser, &explorer.url);
    assert_eq!(
        browser
            .value(
                "[...document.querySelectorAll('.pane')].every((pane) => pane.clientWidth > 300)"
            )
            .unwrap(),
        true
    );
    let mark = |mark: &str| browser.text(&format!("[data-mark={mark}]")).unwrap();
    assert!(
        mark("added").contains("0 added") && mark("removed").contains("0 removed"),
        "{}",
        mark("added")
    );
    // withNewFile, withExec and stdout; the rest is as it was.
    assert!(mark("changed").contains("3 changed"), "{}", mark("changed"));
    browser.press(&["n"]).unwrap();
    let first = browser.text("#details").unwrap();
    assert!(
        first.contains("withNewFile") && first.contains("differs in call key"),
        "{first}"
    );
    let cause = browser.text("#details .reason").unwrap();
    let changed = "the content of `mkfile /word` changed";
    assert!(cause.starts_with(changed), "{cause}");
    // What follows from it names its step.
    browser.press(&["n"]).unwrap();
    let follows = browser.text("#details .reason").unwrap();
    let root = follows.split(';').next().unwrap();
    assert!(
        root.starts_with(changed) && root.contains(" (at "),
        "{follows}"
    );
    browser.press(&["N"]).unwrap();
    photograph(&browser, "explore-compare");
    assert_quiet(&browser, &explorer);

    browser
        .open(&format!("{}?build=ffffffff", explorer.base()))
        .unwrap();
    browser
        .until("!document.getElementById('problem').hidden")
        .unwrap();
    let problem = browser.text("#problem").unwrap();
    assert!(
        problem.contains("no recorded build has an id that begins with `ffffffff`"),
        "{problem}"
    );
}

/// Writes a build of [`MANY`] calls, each with a vertex, into the user's ledger.
fn record_many(state: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let recorder = Ledger::start(path_in(state)).record();
    recorder.observe(&Event::BuildStarted(BuildStarted {
        build: recorder.build().to_owned(),
        daemon: "unix:///nowhere".into(),
        daemon_version: "v0.32.2".into(),
        daemon_ref: None,
        at_ms: 1_000_000,
    }));
    for call in 1..=MANY {
        // Chains of 25 that branch off each other.
        let parent = if call % 25 == 1 { call / 2 } else { call - 1 };
        let display = if call == 2 {
            HOSTILE.to_owned()
        } else {
            format!("withExec(args: [\"make\", \"{call}\"])")
        };
        recorder.observe(&Event::CallStarted(CallStarted {
            call,
            parent: (parent > 0).then_some(parent),
            path: format!("build.step{call}"),
            display,
            call_key: format!("blake3:{call:064x}"),
            scopes: Vec::new(),
            storage_key: format!("blake3:{call:064x}"),
            at_ms: 1_000_000 + call * 20,
        }));
        let digest = format!("sha256:{call:064x}");
        let vertex = PlannedVertex {
            raw: digest.clone(),
            canonical: digest.clone(),
            name: format!("make {call}"),
            kind: VertexKind::Exec,
            predicted_cache_map: None,
            operation: None,
        };
        recorder.observe(&Event::Lowered(Lowered {
            call,
            kind: DagOpKind::Ctr,
            vertices: vec![vertex],
        }));
        recorder.observe(&Event::Vertex(VertexUpdate {
            digest,
            name: format!("make {call}"),
            started_ms: Some(1_000_000 + call * 20),
            completed_ms: Some(1_000_000 + call * 20 + call * 37 % 3000),
            cached: call % 3 == 0,
            not_needed: call % 7 == 0,
            error: None,
        }));
        recorder.observe(&Event::CallFinished(CallFinished {
            call,
            end: CallEnd::Ran,
            error: None,
            at_ms: 1_000_010 + call * 20,
        }));
    }
    recorder.observe(&Event::BuildFinished(BuildFinished {
        end: BuildEnd::Succeeded,
        at_ms: 1_110_000,
    }));
    let report = runtime.block_on(recorder.finish());
    assert_eq!(report.notices, [""; 0]);
}

#[test]
fn five_thousand_steps_are_drawn_and_move() {
    let user = Dagop::new("unix:///nowhere").unwrap();
    record_many(&user.home().join("state/dagop"));
    let explorer = Explorer::start(&user, &["last"]);
    let browser = Browser::start().unwrap();
    show(&browser, &explorer.url);
    assert_eq!(counts(&browser).values().sum::<u64>(), MANY);
    let ready = browser.value("Math.round(performance.now())").unwrap();
    let frames = browser.value(FRAMES).unwrap();
    println!("{MANY} steps: ready after {ready} ms; ms per frame (median, 95 %, worst): {frames}");
    assert_eq!(
        browser
            .value("Number(document.querySelector('.rows').getAttribute('aria-rowcount'))")
            .unwrap(),
        MANY
    );
    let elements = browser
        .value("document.querySelectorAll('.row').length")
        .unwrap()
        .as_u64()
        .unwrap();
    assert!(
        elements < 100,
        "{elements} rows are elements: only those in view should be"
    );
    browser.press(&["0"]).unwrap();
    drawn(&browser);
    let pixels: BTreeMap<String, u64> =
        serde_json::from_value(browser.value(COLOURS).unwrap()).unwrap();
    assert!(
        pixels.values().all(|pixels| *pixels > 0),
        "all of it is drawn: {pixels:?}"
    );
    photograph(&browser, "explore-5000");

    // Text stays text.
    browser
        .press(&["/", "o", "n", "e", "r", "r", "o", "r", key::ENTER])
        .unwrap();
    assert!(browser.text("#details .display").unwrap().contains(HOSTILE));
    assert_eq!(
        browser
            .value("document.querySelectorAll('main img, main script').length")
            .unwrap(),
        0
    );
    assert!(
        browser
            .value("document.title")
            .unwrap()
            .as_str()
            .unwrap()
            .ends_with("dagop explore")
    );
    assert_quiet(&browser, &explorer);
}

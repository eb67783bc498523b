//! The three forms of progress, each over the same recorded build.

use dagop::event::*;
use dagop::ledger::{DagOpKind, VertexKind};
use expect_test::{Expect, expect};

use super::*;

/// A moment of the recorded build, in milliseconds after its start.
fn at(ms: u64) -> UnixMillis {
    1_000_000 + ms
}

fn call(call: u64, display: &str, ms: u64) -> Event {
    Event::CallStarted(CallStarted {
        call,
        parent: None,
        path: "container".into(),
        display: display.into(),
        call_key: format!("blake3:{call}"),
        scopes: Vec::new(),
        storage_key: String::new(),
        at_ms: at(ms),
    })
}

fn finished(call: u64, end: CallEnd, ms: u64) -> Event {
    Event::CallFinished(CallFinished {
        call,
        end,
        error: None,
        at_ms: at(ms),
    })
}

fn lowered(call: u64, raws: &[(&str, &str, VertexKind)]) -> Event {
    let vertices = raws.iter().map(|(raw, name, kind)| PlannedVertex {
        raw: (*raw).into(),
        canonical: format!("canonical-{raw}"),
        name: (*name).into(),
        kind: *kind,
        predicted_cache_map: None,
        operation: None,
    });
    Event::Lowered(Lowered {
        call,
        kind: DagOpKind::Ctr,
        vertices: vertices.collect(),
    })
}

fn vertex(digest: &str, name: &str, started: u64, completed: Option<u64>) -> VertexUpdate {
    VertexUpdate {
        digest: digest.into(),
        name: name.into(),
        started_ms: Some(at(started)),
        completed_ms: completed.map(at),
        cached: false,
        not_needed: false,
        error: None,
    }
}

fn transfer(vertex: &str, id: &str, current: u64, total: u64, ms: u64) -> Event {
    let done = current == total;
    let (vertex, id, at_ms) = (vertex.into(), id.into(), at(ms));
    Event::Transfer(Transfer {
        vertex,
        id,
        current,
        total,
        done,
        at_ms,
    })
}

fn log(vertex: &str, text: &str, ms: u64) -> Event {
    let (vertex, text, at_ms) = (vertex.into(), text.into(), at(ms));
    Event::Log(LogLine {
        vertex,
        stream: Stream::Stdout,
        text,
        at_ms,
    })
}

/// A pull, a cached step, one that was not needed, one that fails, and one that is cut off.
fn recorded() -> Vec<Event> {
    let started = BuildStarted {
        build: "0123456789abcdef".into(),
        daemon: "unix:///run/buildkit/buildkitd.sock".into(),
        daemon_version: "v0.32.2".into(),
        daemon_ref: None,
        at_ms: at(0),
    };
    let cached = |digest, name| VertexUpdate {
        cached: true,
        ..vertex(digest, name, 1500, Some(1500))
    };
    let error = |text: &str, update| VertexUpdate {
        error: Some(text.to_owned()),
        ..update
    };
    vec![
        Event::BuildStarted(started),
        call(1, "from(address: \"alpine\")", 10),
        finished(1, CallEnd::Ran, 20),
        call(2, "withExec(args: [\"make\"])", 20),
        finished(2, CallEnd::Ran, 30),
        call(3, "stdout", 30),
        lowered(1, &[("v1", "pull alpine", VertexKind::Image)]),
        lowered(
            2,
            &[
                ("v2", "helper", VertexKind::File),
                ("v3", "make", VertexKind::Exec),
            ],
        ),
        Event::Vertex(vertex("v1", "pull alpine", 100, None)),
        transfer("v1", "sha256:aaaa", 1_000_000, 3_400_000, 200),
        transfer("v1", "sha256:aaaa", 2_000_000, 3_400_000, 400),
        transfer("v1", "sha256:aaaa", 3_400_000, 3_400_000, 900),
        Event::Vertex(vertex("v1", "pull alpine", 100, Some(1300))),
        Event::Vertex(cached("v2", "helper")),
        Event::Vertex(VertexUpdate {
            not_needed: true,
            ..cached("v4", "left over")
        }),
        Event::Vertex(vertex("v3", "make", 1500, None)),
        log("v3", "cc -o hello\x1b[2J hello.c", 1600),
        log("v3", "10%\r100%", 1700),
        Event::Warning(Warning {
            vertex: None,
            message: "old flag".into(),
            detail: vec!["-x".into()],
        }),
        Event::Vertex(error(
            "exit code: 2",
            vertex("v3", "make", 1500, Some(3500)),
        )),
        Event::Vertex(vertex("v5", "slow", 3400, None)),
        Event::Vertex(error(
            "context canceled",
            vertex("v5", "slow", 3400, Some(3600)),
        )),
        Event::Vertex(vertex("v6", "for ever", 3500, None)),
        finished(3, CallEnd::Failed, 3600),
        Event::BuildFinished(BuildFinished {
            end: BuildEnd::Failed,
            at_ms: at(3700),
        }),
    ]
}

const SIZE: Size = Size {
    rows: 12,
    columns: 64,
};

/// Everything a renderer writes; escape characters as `^`.
fn rendered(mut renderer: impl Renderer, events: &[Event], frames: &[(usize, u64)]) -> String {
    let mut out = Vec::new();
    for (count, event) in events.iter().enumerate() {
        renderer.event(event, &mut out).unwrap();
        for (_, ms) in frames.iter().filter(|(after, _)| *after == count + 1) {
            renderer.frame(at(*ms), SIZE, &mut out).unwrap();
        }
    }
    renderer.finish(at(3700), SIZE, &mut out).unwrap();
    String::from_utf8(out).unwrap().replace('\x1b', "^")
}

fn check(text: &str, expected: &Expect) {
    // Cells are padded; the goldens are kept without white space at their ends.
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn plain() {
    check(
        &rendered(plain::Plain::default(), &recorded(), &[]),
        &expect![[r##"
            #1 from(address: "alpine")
            #1 sha256:aaaa 1.0MB / 3.4MB
            #1 sha256:aaaa 3.4MB / 3.4MB done
            #1 DONE 1.2s
            #2 helper
            #2 CACHED
            #3 left over
            #3 NOT NEEDED
            #4 withExec(args: ["make"])
            #4 0.100 cc -o hello hello.c
            #4 0.200 100%
            WARNING: old flag
              -x
            #4 ERROR: exit code: 2
            #5 slow
            #5 CANCELLED
            #6 for ever
            #6 did not end
        "##]],
    );
}

#[test]
fn plain_says_an_end_once() {
    let done = Event::Vertex(vertex("v1", "pull", 100, Some(200)));
    let again = Event::Vertex(vertex("v1", "pull", 100, Some(400)));
    let events = [done.clone(), done, again];
    check(
        &rendered(plain::Plain::default(), &events, &[]),
        &expect![[r#"
            #1 pull
            #1 DONE 0.1s
            #1 DONE 0.3s
        "#]],
    );
}

#[test]
fn tty_draws_over_the_last_frame() {
    let frames = [(10, 300), (18, 1800), (21, 3500)];
    check(
        &rendered(tty::Tty::new(false), &recorded(), &frames),
        &expect![[r#"
            ^[?7l[+] 0.3s 0/1 vertices (0 cached), 3 calls^[K
             > from(address: "alpine")                                  0.2s^[K
               | sha256:aaaa 1.0MB / 3.4MB^[K
            ^[J^[?7h^[3F^[?7l[+] 1.8s 3/4 vertices (2 cached), 3 calls^[K
             = from(address: "alpine")                         resolved 1.2s^[K
             = helper                                                 cached^[K
             = left over                                          not needed^[K
             > withExec(args: ["make"])                                 0.3s^[K
               | cc -o hello hello.c^[K
               | 100%^[K
             - stdout                                                   1.7s^[K
            ^[J^[?7h^[8F^[?7lWARNING: old flag^[K
            [+] 3.5s 4/5 vertices (2 cached), 3 calls^[K
             = from(address: "alpine")                         resolved 1.2s^[K
             = helper                                                 cached^[K
             = left over                                          not needed^[K
             = withExec(args: ["make"])                          failed 2.0s^[K
             > slow                                                     0.1s^[K
             - stdout                                                   3.4s^[K
            ^[J^[?7h^[7F^[?7l[+] 3.7s 5/6 vertices (2 cached), 3 calls^[K
             = from(address: "alpine")                         resolved 1.2s^[K
             = helper                                                 cached^[K
             = left over                                          not needed^[K
             = withExec(args: ["make"])                          failed 2.0s^[K
             = slow                                           cancelled 0.2s^[K
             > for ever                                                 0.2s^[K
            ^[J^[?7hwithExec(args: ["make"])
               | cc -o hello hello.c
               | 100%
        "#]],
    );
}

#[test]
fn tty_frames_fit_the_terminal() {
    let mut events = vec![recorded().remove(0)];
    for number in 0..40 {
        let ended = (number % 2 == 0).then_some(2);
        let name = format!("step {number}");
        events.push(Event::Vertex(vertex(&name, &"long ".repeat(40), 1, ended)));
        events.push(log(&name, &"wide ".repeat(40), 2));
    }
    let frame = rendered(tty::Tty::new(true), &events, &[(events.len(), 100)]);
    let (frame, _) = frame.split_once("^[?7h").unwrap();
    let lines: Vec<_> = frame.lines().collect();
    assert_eq!(
        lines.len(),
        SIZE.rows,
        "header, ten vertices, and the line of the cursor"
    );
    assert!(
        lines[1..SIZE.rows - 1]
            .iter()
            .all(|line| line.starts_with(" > long ")),
        "{frame}"
    );
    let wide = |line: &str| line.trim_end_matches("^[K").chars().count() > SIZE.columns;
    assert!(!lines[1..].iter().any(|line| wide(line)), "{frame}");
}

#[test]
fn tty_colours_beside_the_word() {
    let events = [
        recorded().remove(0),
        Event::Vertex(vertex("v", "x", 1, Some(2))),
    ];
    let frame = rendered(tty::Tty::new(true), &events, &[(2, 100)]);
    let (_, coloured) = frame.split_once("^[32m").unwrap();
    assert!(coloured.split_once("^[0m").unwrap().0.contains("executed"));
}

#[test]
fn json_is_one_event_per_line() {
    let text = rendered(json::Json, &recorded(), &[]);
    let events: Vec<Event> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events, recorded());
    expect![[r#"{"event":"call_finished","call":1,"end":"ran","error":null,"at_ms":1000020}"#]]
        .assert_eq(text.lines().nth(2).unwrap());
}

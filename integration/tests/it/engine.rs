//! The engine as a library: several sessions of one process, which share its result cache, and the
//! errors of steps as a client of the API gets them.

use std::fs;
use std::path::Path;

use dagop::{Engine, EngineOptions, EngineSession, Request, Response, SessionOptions};
use integration::daemon;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Scalars and objects made from a directory of the host, directly and through an ID.
const READ: &str = r#"{
  host {
    directory(path: "src") {
      id entries digest
      file(path: "a") { contents size digest }
      withNewFile(path: "new", contents: "x") { entries file(path: "a") { contents } }
    }
    file(path: "src/a") { contents }
  }
}"#;

struct Case {
    folder: TempDir,
    engine: Engine,
}

impl Case {
    async fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("dagop-it-")
            .tempdir()
            .unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        let options = EngineOptions {
            state_dir: folder.path().join("state"),
            address: Some(daemon::shared().unwrap()),
            ..EngineOptions::default()
        };
        Self {
            engine: Engine::start(options).await.unwrap(),
            folder,
        }
    }

    /// A session that recalls nothing from the disk unless it is told to.
    fn session(&self, no_recall: bool) -> EngineSession {
        let options = SessionOptions {
            workdir: self.folder.path().to_owned(),
            no_recall,
            ..SessionOptions::default()
        };
        self.engine.session(options).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join("src").join(name), text).unwrap();
    }
}

async fn run(session: &EngineSession, query: &str) -> Response {
    let request = Request::new(query);
    session.execute(request, CancellationToken::new()).await
}

async fn ask(session: &EngineSession, query: &str) -> Value {
    let answer = run(session, query).await;
    answer.json().unwrap_or_else(|error| panic!("{error:?}"))
}

/// What a session sees of the directory: all answers must tell of one text and one set of names.
async fn look(session: &EngineSession, text: &str, names: &[&str]) -> String {
    let mut answer = ask(session, READ).await;
    let host = &mut answer["host"];
    assert_eq!(host["file"]["contents"], text);
    let directory = &mut host["directory"];
    let id = directory["id"].as_str().unwrap().to_owned();
    let more = [names, &["new"]].concat();
    assert_eq!(directory["entries"], json!(names));
    assert_eq!(directory["file"]["contents"], text);
    assert_eq!(directory["file"]["size"], text.len());
    assert_eq!(directory["withNewFile"]["entries"], json!(more));
    assert_eq!(directory["withNewFile"]["file"]["contents"], text);

    let by_id = format!(
        r#"{{
          loadDirectoryFromID(id: "{id}") {{ entries file(path: "a") {{ contents }} }}
          directory {{ withDirectory(path: "in", source: "{id}") {{ file(path: "in/a") {{ contents }} }} }}
          container {{
            withMountedDirectory(path: "/in", source: "{id}") {{ file(path: "/in/a") {{ contents }} }}
            withDirectory(path: "/in", source: "{id}") {{ rootfs {{ glob(pattern: "in/*") }} }}
          }}
        }}"#
    );
    let answer = ask(session, &by_id).await;
    let loaded = &answer["loadDirectoryFromID"];
    assert_eq!(loaded["entries"], json!(names));
    assert_eq!(loaded["file"]["contents"], text);
    let copied = &answer["directory"]["withDirectory"];
    assert_eq!(copied["file"]["contents"], text);
    let container = &answer["container"];
    let mounted = &container["withMountedDirectory"];
    assert_eq!(mounted["file"]["contents"], text);
    let inside: Vec<String> = names.iter().map(|name| format!("in/{name}")).collect();
    assert_eq!(container["withDirectory"]["rootfs"]["glob"], json!(inside));
    id
}

/// A directory is cached for its client, and what is read from it may stay in memory. A later
/// session of that client must neither get the old tree nor ask the daemon for one through a
/// session that is gone, while a session that is still open keeps seeing what it saw.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_session_of_a_client_sees_what_is_there_now() {
    for no_recall in [true, false] {
        let case = Case::new().await;
        case.write("a", "one");
        let open = case.session(no_recall);
        let id = look(&open, "one", &["a"]).await;
        let mut names = vec!["a"];
        for (text, more) in [("two", None), ("three", Some("b")), ("one", Some("c"))] {
            case.write("a", text);
            if let Some(name) = more {
                case.write(name, "");
                names.push(name);
            }
            let next = case.session(no_recall);
            assert_eq!(
                look(&next, text, &names).await,
                id,
                "the client is the same"
            );
            // Another time in the same session, when all of it is cached.
            look(&next, text, &names).await;
            next.finish().await.unwrap();
            look(&open, "one", &["a"]).await;
        }
        open.finish().await.unwrap();
        let last = case.session(no_recall);
        look(&last, "one", &["a", "b", "c"]).await;
        last.finish().await.unwrap();
    }
}

fn container(busybox: &Path) -> String {
    format!(
        r#"{{ host {{ file(path: "{}") {{ id }} }} }}"#,
        busybox.display()
    )
}

/// What a shell makes of programs that are missing (127), cannot be run (126) or were killed
/// (128 and more), and the largest code there is.
#[tokio::test(flavor = "multi_thread")]
async fn every_exit_code_of_a_command_is_told() {
    const CODES: [i64; 8] = [1, 2, 125, 126, 127, 128, 137, 255];
    let case = Case::new().await;
    let session = case.session(true);
    let program = ask(
        &session,
        &container(&integration::busybox::program().unwrap()),
    )
    .await;
    let program = program["host"]["file"]["id"].as_str().unwrap();
    let steps = |expect: &str, selected: &str| {
        let step = |code: &i64| {
            format!(
                r#"c{code}: withExec(args: ["busybox", "sh", "-c", "busybox echo said; exit {code}"]{expect}) {{ {selected} }}"#
            )
        };
        let steps: Vec<String> = CODES.iter().map(step).collect();
        format!(
            r#"{{ container {{ withFile(path: "/bin/busybox", source: "{program}", permissions: 493) {{
              withEnvVariable(name: "PATH", value: "/bin") {{
              {}
            }} }} }} }}"#,
            steps.join("\n")
        )
    };
    let failed = run(&session, &steps("", "stdout")).await;
    assert!(failed.data.is_none());
    let told: Vec<_> = failed
        .errors
        .iter()
        .map(|error| {
            let extensions = error.extensions();
            assert_eq!(extensions["_type"], "EXEC_ERROR", "{error:?}");
            assert_eq!(extensions["stdout"], "said", "{error:?}");
            extensions["exitCode"].as_i64().unwrap()
        })
        .collect();
    assert_eq!(told, CODES);

    // What a command can return of its own accord may be expected; beyond are signals.
    for expect in ["ANY", "FAILURE"] {
        let expecting = run(&session, &steps(&format!(", expect: {expect}"), "exitCode")).await;
        let refused: Vec<_> = expecting
            .errors
            .iter()
            .map(|error| error.extensions()["exitCode"].as_i64().unwrap())
            .collect();
        assert_eq!(refused, [128, 137, 255], "{expect}");
    }
    session.finish().await.unwrap();
}

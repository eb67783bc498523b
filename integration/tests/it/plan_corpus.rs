//! The pipelines that plans are tested with, and the edits of each, one after the other.
//!
//! `{image}`, `{http}`, `{git}` stand for what [`World`](crate::plan_world::World) has.

use crate::plan_world::{IMAGE, Image, PAGE, Page};

/// A change between two runs.
#[derive(Debug)]
pub(crate) enum Edit {
    /// Of the document.
    Text(&'static str, &'static str),
    /// Of a file of the working folder.
    File(&'static str, &'static str),
    /// A file that is gone.
    Remove(&'static str),
    /// Of a file's permissions.
    Mode(&'static str, u32),
    /// Of a file's times alone.
    Touch(&'static str),
    /// A symbolic link: where, and to what.
    Link(&'static str, &'static str),
    /// Of a variable of the caller's environment.
    Env(&'static str, &'static str),
    /// Of the file that HTTP serves.
    Page(Page),
    /// A commit on the branch.
    Commit(&'static str, &'static str),
    /// The tag moves.
    Image(Image),
    /// All times to live pass.
    Expire,
}

pub(crate) struct Pipeline {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) edits: &'static [Edit],
    /// How many of the edits are tried where not all are; none where the pipeline is left out.
    pub(crate) sample: Option<usize>,
}

pub(crate) const CORPUS: &[Pipeline] = &[
    Pipeline {
        name: "chain",
        text: r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withExec(args: ["busybox", "sh", "-c", "echo chain > /one"]) {
              withExec(args: ["busybox", "cp", "/one", "/two"]) {
                withExec(args: ["busybox", "cat", "/two"]) { stdout } } } } }"#,
        edits: &[
            Edit::Text("\"/two\"]) {\n", "\"/two\"], stdin: \"x\") {\n"),
            Edit::Text("echo chain", "echo change"),
        ],
        sample: Some(1),
    },
    Pipeline {
        name: "sources",
        text: r#"query H { host { directory(path: "src") { id @export(as: "src") } } }
          query Q($tools: ContainerID!, $src: DirectoryID!) { loadContainerFromID(id: $tools) {
            withDirectory(path: "/src", source: $src, exclude: ["*.md"]) {
              withExec(args: ["busybox", "cat", "/src/a.c"]) { stdout } } } }"#,
        edits: &[
            Edit::File("src/a.c", "int a;\n"),
            Edit::Touch("src/a.c"),
            Edit::Mode("src/a.c", 0o755),
            Edit::File("src/new.c", "int n;\n"),
            Edit::File("src/read.md", "changed\n"),
            Edit::Remove("src/b.c"),
        ],
        sample: Some(2),
    },
    Pipeline {
        name: "patterns",
        text: r#"query H { host {
            directory(path: "src", include: ["**/*.c"], exclude: ["b.c"]) { id @export(as: "src") }
            fresh: directory(path: "lib", noCache: true) { id @export(as: "lib") }
            file(path: "src/link") { id @export(as: "file") } } }
          query Q($tools: ContainerID!, $src: DirectoryID!, $lib: DirectoryID!, $file: FileID!) {
            loadContainerFromID(id: $tools) {
              withDirectory(path: "/src", source: $src) {
                withDirectory(path: "/lib", source: $lib, include: ["x*"]) {
                  withFile(path: "/file", source: $file) {
                    withExec(args: ["busybox", "sh", "-c", "busybox ls /src /lib /file"]) {
                      stdout } } } } } }"#,
        edits: &[
            Edit::File("src/b.c", "int changed;\n"),
            Edit::File("src/a.c", "int p;\n"),
            Edit::File("lib/other", "not taken\n"),
            Edit::File("lib/x2", "taken\n"),
            Edit::Link("src/link", "b.c"),
            Edit::Text("[\"b.c\"]", "[\"a.c\"]"),
        ],
        sample: None,
    },
    Pipeline {
        name: "mounted",
        text: r#"query H { host { directory(path: "lib") { id @export(as: "lib") } } }
          query Q($tools: ContainerID!, $lib: DirectoryID!) { loadContainerFromID(id: $tools) {
            withMountedDirectory(path: "/lib", source: $lib) {
              withExec(args: ["busybox", "ls", "/lib"]) { stdout } } } }"#,
        edits: &[Edit::File("lib/x", "changed\n"), Edit::Touch("lib/x")],
        sample: None,
    },
    Pipeline {
        name: "stages",
        text: r#"query A($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withExec(args: ["busybox", "sh", "-c", "echo stage one > /out"]) {
              file(path: "/out") { id @export(as: "out") } } } }
          query Q($tools: ContainerID!, $out: FileID!) { loadContainerFromID(id: $tools) {
            withFile(path: "/in", source: $out) {
              withExec(args: ["busybox", "cat", "/in"]) { stdout } } } }"#,
        edits: &[
            Edit::Text("echo stage one", "true; echo stage one"),
            Edit::Text("\"/in\"]", "\"-n\", \"/in\"]"),
        ],
        sample: Some(1),
    },
    Pipeline {
        name: "diamond",
        text: r#"query A($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withExec(args: ["busybox", "sh", "-c", "mkdir /o; echo base > /o/base"]) {
              left: withExec(args: ["busybox", "sh", "-c", "echo left > /o/left"]) {
                directory(path: "/o") { id @export(as: "left") } }
              right: withExec(args: ["busybox", "sh", "-c", "echo right > /o/right"]) {
                directory(path: "/o") { id @export(as: "right") } } } } }
          query B($left: DirectoryID!, $right: DirectoryID!) {
            directory { withDirectory(path: "l", source: $left) {
              withDirectory(path: "r", source: $right, exclude: ["base"]) {
                id @export(as: "both") } } } }
          query Q($tools: ContainerID!, $both: DirectoryID!) { loadContainerFromID(id: $tools) {
            withMountedDirectory(path: "/both", source: $both) {
              withExec(args: ["busybox", "find", "/both"]) { stdout } } } }"#,
        edits: &[
            Edit::Text("echo left", "true; echo left"),
            Edit::Text("echo right", "echo wrong"),
            Edit::Text("echo base", "echo basis"),
            Edit::Text("exclude: [\"base\"]", "exclude: [\"none\"]"),
        ],
        sample: None,
    },
    Pipeline {
        name: "trees",
        text: r#"query Q { directory { withNewFile(path: "a", contents: "tree a") {
            withNewFile(path: "b/c", contents: "tree c") {
              filter(include: ["b/**"]) { entries } } } } }"#,
        edits: &[Edit::Text("tree c", "tree d")],
        sample: None,
    },
    Pipeline {
        name: "environment",
        text: r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withEnvVariable(name: "LEVEL", value: "1") {
              left: withExec(args: ["busybox", "sh", "-c", "echo left $LEVEL"]) { stdout }
              right: withWorkdir(path: "/right") {
                withExec(args: ["busybox", "pwd"]) { stdout } } } } }"#,
        edits: &[
            Edit::Text("value: \"1\"", "value: \"2\""),
            Edit::Text("/right", "/other"),
        ],
        sample: None,
    },
    Pipeline {
        name: "scopes",
        text: r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            client: withExec(args: ["busybox", "echo", "c"]) @cache(scope: CLIENT) { stdout }
            session: withExec(args: ["busybox", "echo", "s"]) @cache(scope: SESSION) { stdout }
            call: withExec(args: ["busybox", "echo", "one"]) @cache(scope: CALL) { stdout }
            key: withExec(args: ["busybox", "echo", "k"]) @cache(key: "first") {
              withExec(args: ["busybox", "echo", "after"]) { stdout } } } }"#,
        edits: &[
            Edit::Text("key: \"first\"", "key: \"second\""),
            Edit::Text("scope: CLIENT", "key: \"fixed\""),
        ],
        sample: None,
    },
    Pipeline {
        name: "lives",
        text: r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withExec(args: ["busybox", "sh", "-c", "echo ttl > /o"]) @cache(ttl: "2h") {
              withExec(args: ["busybox", "cat", "/o"]) { stdout } } } }"#,
        edits: &[
            Edit::Expire,
            Edit::Text("ttl: \"2h\"", "ttl: \"3h\""),
            Edit::Text("ttl: \"3h\"", "ttl: \"2h\""),
        ],
        sample: Some(1),
    },
    Pipeline {
        name: "volume",
        text: r#"query V { cacheVolume(key: "plan-volume") { id @export(as: "volume") } }
          query Q($tools: ContainerID!, $volume: CacheVolumeID!) {
            loadContainerFromID(id: $tools) {
              withMountedCache(path: "/cache", cache: $volume) {
                withExec(args: ["busybox", "sh", "-c", "echo v >> /cache/v; echo volume > /o"]) {
                  sync
                  stdout
                  file(path: "/o") { contents } } } } }"#,
        edits: &[
            Edit::Text("echo volume", "echo volumes"),
            Edit::Text("plan-volume", "plan-other"),
            Edit::Text("cache: $volume)", "cache: $volume, sharing: LOCKED)"),
        ],
        sample: None,
    },
    Pipeline {
        name: "filled",
        text: r#"query V { cacheVolume(key: "plan-filled") { id @export(as: "volume") } }
          query H { host { directory(path: "lib") { id @export(as: "lib") } } }
          query Q($tools: ContainerID!, $volume: CacheVolumeID!, $lib: DirectoryID!) {
            loadContainerFromID(id: $tools) {
              withMountedCache(path: "/cache", cache: $volume, source: $lib) {
                withExec(args: ["busybox", "ls", "/cache"]) { stdout } } } }"#,
        edits: &[Edit::File("lib/x", "filled\n")],
        sample: None,
    },
    Pipeline {
        name: "secrets",
        text: r#"query S { setSecret(name: "given", plaintext: "hunter2-plan") { id @export(as: "given") }
            secret(uri: "env://PLAN_SECRET") { id @export(as: "read") } }
          query Q($tools: ContainerID!, $given: SecretID!, $read: SecretID!) {
            loadContainerFromID(id: $tools) {
              withSecretVariable(name: "GIVEN", secret: $given) {
                withMountedSecret(path: "/read", source: $read) {
                  withExec(args: ["busybox", "sh", "-c", "busybox wc -c /read; echo ${#GIVEN}"]) {
                    stdout } } } } }"#,
        edits: &[
            Edit::Env("PLAN_SECRET", "another value"),
            Edit::Text("hunter2-plan", "hunter3-plan"),
            Edit::Text("name: \"given\"", "name: \"renamed\""),
            Edit::Text(
                "path: \"/read\", source",
                "path: \"/read\", mode: 292, source",
            ),
        ],
        sample: None,
    },
    Pipeline {
        name: "values",
        text: r#"query A($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withExec(args: ["busybox", "echo", "a value"]) { stdout @export(as: "value") } } }
          query Q($tools: ContainerID!, $value: String!) { loadContainerFromID(id: $tools) {
            withNewFile(path: "/v", contents: $value) {
              withExec(args: ["busybox", "cat", "/v"]) { stdout } } } }"#,
        edits: &[Edit::Text("a value", "b value")],
        sample: None,
    },
    Pipeline {
        name: "image",
        text: r#"query Q { container { from(address: "{image}") {
            withExec(args: ["busybox", "cat", "/data"]) {
              withExec(args: ["busybox", "sh", "-c", "echo $LEVEL"]) { stdout } } } } }"#,
        edits: &[
            Edit::Image(Image {
                data: "two",
                ..IMAGE
            }),
            Edit::Image(Image {
                data: "two",
                note: "b",
                ..IMAGE
            }),
            Edit::Image(Image {
                data: "two",
                level: "2",
                note: "b",
            }),
            Edit::Text("\"/data\"", "\"-n\", \"/data\""),
        ],
        sample: Some(2),
    },
    Pipeline {
        name: "image file",
        text: r#"query F { container { from(address: "{image}") {
            file(path: "/data") { id @export(as: "data") } } } }
          query Q($tools: ContainerID!, $data: FileID!) { loadContainerFromID(id: $tools) {
            withFile(path: "/in", source: $data) {
              withExec(args: ["busybox", "cat", "/in"]) { stdout } } } }"#,
        edits: &[
            Edit::Image(Image {
                data: "three",
                ..IMAGE
            }),
            Edit::Image(Image {
                data: "three",
                level: "3",
                ..IMAGE
            }),
            Edit::Image(Image {
                data: "three",
                level: "3",
                note: "c",
            }),
        ],
        sample: None,
    },
    Pipeline {
        name: "http",
        text: r#"query H { http(url: "{http}") { id @export(as: "page") } }
          query Q($tools: ContainerID!, $page: FileID!) { loadContainerFromID(id: $tools) {
            withFile(path: "/page", source: $page) {
              withExec(args: ["busybox", "cat", "/page"]) { stdout } } } }"#,
        edits: &[
            Edit::Page(Page {
                body: "another page\n",
                etag: "two",
                ..PAGE
            }),
            Edit::Page(Page {
                body: "a page that lies\n",
                etag: "two",
                ..PAGE
            }),
            Edit::Page(Page {
                body: "a page that lies\n",
                etag: "three",
                ..PAGE
            }),
            Edit::Page(Page {
                body: "a page that lies\n",
                etag: "four",
                ..PAGE
            }),
            Edit::Page(Page {
                body: "a page that lies\n",
                etag: "four",
                modified: "Tue, 03 Jan 2023 10:00:00 GMT",
            }),
        ],
        sample: Some(1),
    },
    Pipeline {
        name: "git",
        text: r#"query G { git(url: "{git}") { branch(name: "main") {
            tree(discardGitDir: true) { id @export(as: "tree") } } } }
          query Q($tools: ContainerID!, $tree: DirectoryID!) { loadContainerFromID(id: $tools) {
            withDirectory(path: "/src", source: $tree, include: ["a"]) {
              withExec(args: ["busybox", "cat", "/src/a"]) { stdout } } } }"#,
        edits: &[
            Edit::Commit("b", "int other;\n"),
            Edit::Commit("a", "int changed;\n"),
            Edit::Text("discardGitDir: true", "discardGitDir: false"),
        ],
        sample: Some(1),
    },
    Pipeline {
        name: "dockerfile",
        text: r#"query Q { host { directory(path: "ctx") { dockerBuild {
            withExec(args: ["busybox", "cat", "/two"]) { stdout } } } } }"#,
        edits: &[
            Edit::File("ctx/a", "changed\n"),
            Edit::File("ctx/ignored", "changed\n"),
            Edit::File(
                "ctx/Dockerfile",
                concat!(
                    "FROM scratch AS base\nCOPY busybox /bin/busybox\nENV PATH=/bin\n",
                    "RUN [\"busybox\", \"sh\", \"-c\", \"echo one > /one\"]\n",
                    "FROM base\nARG LEVEL=1\nCOPY a /a\nCOPY b /b\n",
                    "RUN [\"busybox\", \"sh\", \"-c\", \"busybox cat /a /one > /two\"]\n",
                ),
            ),
            Edit::Text(
                "dockerBuild {",
                "dockerBuild(buildArgs: [{name: \"LEVEL\", value: \"2\"}]) {",
            ),
            Edit::Text("\"/two\"", "\"-n\", \"/two\""),
        ],
        sample: Some(1),
    },
];

/// The files of the working folder in the beginning.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("src/a.c", "int main;\n"),
    ("src/b.c", "int b;\n"),
    ("src/read.md", "read me\n"),
    ("lib/x", "library\n"),
    ("ctx/a", "a\n"),
    ("ctx/b", "b\n"),
    ("ctx/ignored", "not copied\n"),
    (
        "ctx/Dockerfile",
        concat!(
            "FROM scratch AS base\nCOPY busybox /bin/busybox\nENV PATH=/bin\n",
            "RUN [\"busybox\", \"sh\", \"-c\", \"echo one > /one\"]\n",
            "FROM base\nARG LEVEL=1\nCOPY a /a\n",
            "RUN [\"busybox\", \"sh\", \"-c\", \"busybox cat /a /one > /two\"]\n",
        ),
    ),
];

"""The pipeline of the SDK tests, with Dagger's Python SDK.

Prints one JSON object. Its twins are pipeline.mjs and pipeline.go: each makes the
same calls in the habits of its language, and all must print the same.
Arguments: the part to run, an image with busybox, a folder for exports.
"""

import json
import sys

import anyio
import dagger
from dagger import dag

PART, IMAGE, OUT = sys.argv[1:]


def base():
    return dag.container().from_(IMAGE)


async def keys():
    """Calls whose keys do not depend on who asks."""
    tree = (
        dag.directory()
        .with_new_file("a.txt", "hello")
        .with_new_file("b/run.sh", "echo run\n", permissions=0o755)
        .with_new_directory("empty")
    )
    made = (
        base()
        .with_env_variable("GREETING", "hi")
        .with_workdir("/w")
        .with_label("l", "v")
        .with_directory("/d", tree, exclude=["*.txt"])
        .with_mounted_directory("/m", tree)
        .with_mounted_cache(
            "/cache", dag.cache_volume("sdk"), sharing=dagger.CacheSharingMode.LOCKED
        )
        .with_exposed_port(80, description="web")
        .with_exec(["sh", "-c", "echo $GREETING; cat /m/a.txt; ls /d"])
    )
    return {"stdout": await made.stdout(), "entries": await tree.entries()}


async def everything():
    result = {}
    with open("in/kept", "w") as kept, open("in/left.log", "w") as left:
        kept.write("kept")
        left.write("left")
    source = dag.host().directory("in", exclude=["*.log"])
    result["host"] = await source.entries()
    result["contents"] = await dag.directory().with_new_file("f", "é\n\"x\"").file("f").contents()
    result["size"] = await source.file("kept").size()

    synced = await base().with_exec(["true"]).sync()
    result["synced"] = await synced.with_exec(["echo", "after sync"]).stdout()
    twice = base().with_directory("/a", source).with_mounted_directory("/b", source)
    result["argument"] = await twice.with_exec(["cat", "/a/kept", "/b/kept"]).stdout()

    secret = dag.set_secret("password", "canary-plaintext\nline two")
    result["secret"] = await (
        base()
        .with_secret_variable("PASSWORD", secret)
        .with_mounted_secret("/run/secret", secret)
        .with_exec(["sh", "-c", '[ "$PASSWORD" = "$(cat /run/secret)" ] && echo same; cat /run/secret'])
        .stdout()
    )
    result["name"] = await secret.name()

    anything = base().with_exec(["sh", "-c", "exit 7"], expect=dagger.ReturnType.ANY)
    result["exitCode"] = await anything.exit_code()
    try:
        await base().with_exec(["sh", "-c", "echo out; echo err >&2; exit 3"]).sync()
    except dagger.ExecError as error:
        result["failure"] = [error.exit_code, error.stdout, error.stderr, error.command]
    try:
        await dag.directory().file("missing").contents()
    except dagger.QueryError as error:
        result["missing"] = "missing" in str(error)

    parallel = [None] * 8

    async def one(index):
        parallel[index] = await base().with_exec(["echo", f"p{index}"]).stdout()

    async with anyio.create_task_group() as tasks:
        for index in range(8):
            tasks.start_soon(one, index)
    result["parallel"] = parallel

    labels = await base().with_label("one", "1").with_label("two", "2").labels()
    result["labels"] = [[await label.name(), await label.value()] for label in labels]
    ports = await base().with_exposed_port(53, protocol=dagger.NetworkProtocol.UDP).exposed_ports()
    result["ports"] = [[await port.port(), (await port.protocol()).value] for port in ports]
    result["absent"] = await base().env_variable("ABSENT")

    await source.export(f"{OUT}/tree", wipe=True)
    await source.file("kept").export(f"{OUT}/file")
    await base().export(f"{OUT}/image.tar", media_types=dagger.ImageMediaTypes.OCIMediaTypes)
    noisy = base().with_exec(["sh", "-c", "busybox seq 1 40000 >&2; echo quiet"])
    result["noisy"] = await noisy.stdout()
    return result


async def main():
    async with dagger.connection(dagger.Config(retry=None)):
        result = await (keys() if PART == "keys" else everything())
        print(json.dumps(result, ensure_ascii=False))


anyio.run(main)

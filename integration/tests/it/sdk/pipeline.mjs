// The pipeline of the SDK tests, with Dagger's TypeScript SDK; see pipeline.py.

import { writeFileSync } from "node:fs"
import {
  CacheSharingMode,
  ExecError,
  GraphQLRequestError,
  ImageMediaTypes,
  NetworkProtocol,
  ReturnType,
  connection,
  dag,
} from "@dagger.io/dagger"

const [part, image, out] = process.argv.slice(2)

const base = () => dag.container().from(image)

// Calls whose keys do not depend on who asks.
async function keys() {
  const tree = dag
    .directory()
    .withNewFile("a.txt", "hello", { permissions: 0o644 })
    .withNewFile("b/run.sh", "echo run\n", { permissions: 0o755 })
    .withNewDirectory("empty")
  const made = base()
    .withEnvVariable("GREETING", "hi", { expand: false })
    .withWorkdir("/w")
    .withLabel("l", "v")
    .withDirectory("/d", tree, { exclude: ["*.txt"], include: [] })
    .withMountedDirectory("/m", tree)
    .withMountedCache("/cache", dag.cacheVolume("sdk"), { sharing: CacheSharingMode.Locked })
    .withExposedPort(80, { description: "web", protocol: NetworkProtocol.Tcp })
    .withExec(["sh", "-c", "echo $GREETING; cat /m/a.txt; ls /d"], { expect: ReturnType.Success, stdin: "" })
  return { stdout: await made.stdout(), entries: await tree.entries() }
}

async function everything() {
  const result = {}
  writeFileSync("in/kept", "kept")
  writeFileSync("in/left.log", "left")
  const source = dag.host().directory("in", { exclude: ["*.log"] })
  result.host = await source.entries()
  result.contents = await dag.directory().withNewFile("f", 'é\n"x"').file("f").contents()
  result.size = await source.file("kept").size()

  const synced = await base().withExec(["true"]).sync()
  result.synced = await synced.withExec(["echo", "after sync"]).stdout()
  const twice = base().withDirectory("/a", source).withMountedDirectory("/b", source)
  result.argument = await twice.withExec(["cat", "/a/kept", "/b/kept"]).stdout()

  const secret = dag.setSecret("password", "canary-plaintext\nline two")
  result.secret = await base()
    .withSecretVariable("PASSWORD", secret)
    .withMountedSecret("/run/secret", secret)
    .withExec(["sh", "-c", '[ "$PASSWORD" = "$(cat /run/secret)" ] && echo same; cat /run/secret'])
    .stdout()
  result.name = await secret.name()

  const anything = base().withExec(["sh", "-c", "exit 7"], { expect: ReturnType.Any })
  result.exitCode = await anything.exitCode()
  try {
    await base().withExec(["sh", "-c", "echo out; echo err >&2; exit 3"]).sync()
  } catch (error) {
    if (!(error instanceof ExecError)) throw error
    result.failure = [error.exitCode, error.stdout, error.stderr, error.cmd]
  }
  try {
    await dag.directory().file("missing").contents()
  } catch (error) {
    if (!(error instanceof GraphQLRequestError)) throw error
    result.missing = error.message.includes("missing")
  }

  const indices = [...Array(8).keys()]
  result.parallel = await Promise.all(indices.map((index) => base().withExec(["echo", `p${index}`]).stdout()))

  result.labels = []
  for (const label of await base().withLabel("one", "1").withLabel("two", "2").labels())
    result.labels.push([await label.name(), await label.value()])
  result.ports = []
  for (const port of await base().withExposedPort(53, { protocol: NetworkProtocol.Udp }).exposedPorts())
    result.ports.push([await port.port(), await port.protocol()])
  result.absent = await base().envVariable("ABSENT")

  await source.export(`${out}/tree`, { wipe: true })
  await source.file("kept").export(`${out}/file`)
  await base().export(`${out}/image.tar`, { mediaTypes: ImageMediaTypes.Ocimediatypes })
  result.noisy = await base().withExec(["sh", "-c", "busybox seq 1 40000 >&2; echo quiet"]).stdout()
  return result
}

await connection(async () => {
  console.log(JSON.stringify(await (part === "keys" ? keys() : everything())))
})

// The pipeline of the SDK tests, with Dagger's Go SDK; see pipeline.py.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"dagger.io/dagger"
)

var ctx = context.Background()

// must ends the program: an unexpected error is a failed test.
func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

type pipeline struct {
	client *dagger.Client
	image  string
	out    string
}

func (p pipeline) base() *dagger.Container { return p.client.Container().From(p.image) }

// keys makes calls whose keys do not depend on who asks.
func (p pipeline) keys() map[string]any {
	tree := p.client.Directory().
		WithNewFile("a.txt", "hello").
		WithNewFile("b/run.sh", "echo run\n", dagger.DirectoryWithNewFileOpts{Permissions: 0o755}).
		WithNewDirectory("empty")
	made := p.base().
		WithEnvVariable("GREETING", "hi").
		WithWorkdir("/w").
		WithLabel("l", "v").
		WithDirectory("/d", tree, dagger.ContainerWithDirectoryOpts{Exclude: []string{"*.txt"}}).
		WithMountedDirectory("/m", tree).
		WithMountedCache("/cache", p.client.CacheVolume("sdk"),
			dagger.ContainerWithMountedCacheOpts{Sharing: dagger.CacheSharingModeLocked}).
		WithExposedPort(80, dagger.ContainerWithExposedPortOpts{
			Description: "web", Protocol: dagger.NetworkProtocolTcp}).
		WithExec([]string{"sh", "-c", "echo $GREETING; cat /m/a.txt; ls /d"})
	return map[string]any{"stdout": must(made.Stdout(ctx)), "entries": must(tree.Entries(ctx))}
}

func (p pipeline) everything() map[string]any {
	result := map[string]any{}
	must(0, os.WriteFile("in/kept", []byte("kept"), 0o644))
	must(0, os.WriteFile("in/left.log", []byte("left"), 0o644))
	source := p.client.Host().Directory("in", dagger.HostDirectoryOpts{Exclude: []string{"*.log"}})
	result["host"] = must(source.Entries(ctx))
	result["contents"] = must(p.client.Directory().WithNewFile("f", "é\n\"x\"").File("f").Contents(ctx))
	result["size"] = must(source.File("kept").Size(ctx))

	synced := must(p.base().WithExec([]string{"true"}).Sync(ctx))
	result["synced"] = must(synced.WithExec([]string{"echo", "after sync"}).Stdout(ctx))
	twice := p.base().WithDirectory("/a", source).WithMountedDirectory("/b", source)
	result["argument"] = must(twice.WithExec([]string{"cat", "/a/kept", "/b/kept"}).Stdout(ctx))

	secret := p.client.SetSecret("password", "canary-plaintext\nline two")
	result["secret"] = must(p.base().
		WithSecretVariable("PASSWORD", secret).
		WithMountedSecret("/run/secret", secret).
		WithExec([]string{"sh", "-c", `[ "$PASSWORD" = "$(cat /run/secret)" ] && echo same; cat /run/secret`}).
		Stdout(ctx))
	result["name"] = must(secret.Name(ctx))

	anything := p.base().WithExec([]string{"sh", "-c", "exit 7"},
		dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	result["exitCode"] = must(anything.ExitCode(ctx))
	p.failures(result)
	result["parallel"] = p.parallel()
	p.lists(result)

	must(source.Export(ctx, p.out+"/tree", dagger.DirectoryExportOpts{Wipe: true}))
	must(source.File("kept").Export(ctx, p.out+"/file"))
	must(p.base().Export(ctx, p.out+"/image.tar",
		dagger.ContainerExportOpts{MediaTypes: dagger.ImageMediaTypesOcimediaTypes}))
	noisy := p.base().WithExec([]string{"sh", "-c", "busybox seq 1 40000 >&2; echo quiet"})
	result["noisy"] = must(noisy.Stdout(ctx))
	return result
}

func (p pipeline) failures(result map[string]any) {
	_, err := p.base().WithExec([]string{"sh", "-c", "echo out; echo err >&2; exit 3"}).Sync(ctx)
	var exec *dagger.ExecError
	if errors.As(err, &exec) {
		result["failure"] = []any{exec.ExitCode, exec.Stdout, exec.Stderr, exec.Cmd}
	}
	_, err = p.client.Directory().File("missing").Contents(ctx)
	result["missing"] = err != nil && strings.Contains(err.Error(), "missing")
}

func (p pipeline) parallel() []string {
	outputs := make([]string, 8)
	var group sync.WaitGroup
	for index := range outputs {
		group.Add(1)
		go func() {
			defer group.Done()
			outputs[index] = must(p.base().WithExec([]string{"echo", fmt.Sprint("p", index)}).Stdout(ctx))
		}()
	}
	group.Wait()
	return outputs
}

func (p pipeline) lists(result map[string]any) {
	labels := [][]string{}
	for _, label := range must(p.base().WithLabel("one", "1").WithLabel("two", "2").Labels(ctx)) {
		labels = append(labels, []string{must(label.Name(ctx)), must(label.Value(ctx))})
	}
	result["labels"] = labels
	ports := [][]any{}
	opts := dagger.ContainerWithExposedPortOpts{Protocol: dagger.NetworkProtocolUdp}
	for _, port := range must(p.base().WithExposedPort(53, opts).ExposedPorts(ctx)) {
		ports = append(ports, []any{must(port.Port(ctx)), must(port.Protocol(ctx))})
	}
	result["ports"] = ports
	// Go reads null as the zero value.
	if must(p.base().EnvVariable(ctx, "ABSENT")) == "" {
		result["absent"] = nil
	}
}

func main() {
	client := must(dagger.Connect(ctx))
	p := pipeline{client: client, image: os.Args[2], out: os.Args[3]}
	run := p.everything
	if os.Args[1] == "keys" {
		run = p.keys
	}
	must(0, json.NewEncoder(os.Stdout).Encode(run()))
	must(0, client.Close())
}

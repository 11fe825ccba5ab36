import assert from "node:assert/strict";
import { UserError } from "../../lib/base/errors.ts";
import { serveFolder } from "../../lib/host/static_server.ts";

async function withServer(check: (url: string, port: number) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  await Deno.mkdir(`${root}/site/a b`, { recursive: true });
  await Deno.writeTextFile(`${root}/secret.txt`, "secret");
  await Deno.writeTextFile(`${root}/site/.hidden`, "secret");
  await Deno.writeTextFile(`${root}/site/index.html`, "<p>start");
  await Deno.writeTextFile(`${root}/site/x.wasm`, "wasm");
  await Deno.writeTextFile(`${root}/site/a b/index.html`, "inner");
  const server = serveFolder({ path: `${root}/site`, port: 0, headers: { "x-own": "yes" } });
  try {
    await check(`http://127.0.0.1:${server.addr.port}`, server.addr.port);
  } finally {
    await server.shutdown();
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("files are served with their types, sizes and the given headers", async () => {
  await withServer(async (url) => {
    const start = await fetch(`${url}/?v=1`);
    assert.equal(await start.text(), "<p>start");
    assert.equal(start.headers.get("content-type"), "text/html; charset=utf-8");
    assert.equal(start.headers.get("x-own"), "yes");
    assert.equal(start.headers.get("x-content-type-options"), "nosniff");
    const wasm = await fetch(`${url}/x.wasm`, { method: "HEAD" });
    assert.equal(wasm.headers.get("content-type"), "application/wasm");
    assert.equal(wasm.headers.get("content-length"), "4");
    assert.equal(await (await fetch(`${url}/a%20b/`)).text(), "inner");
  });
});

Deno.test("nothing outside the folder is served, nothing hidden, nothing but reading", async () => {
  await withServer(async (url, port) => {
    for (
      const path of [
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/.hidden",
        "/a b",
        "//secret.txt",
        "/%zz",
        "/none",
        "/a%00b",
      ]
    ) {
      const response = await fetch(url + path);
      assert.equal(response.status, 404, path);
      assert.equal(await response.text(), "");
    }
    // As no browser would send it.
    using connection = await Deno.connect({ port });
    await connection.write(
      new TextEncoder().encode("GET /../secret.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    );
    const answer = await new Response(connection.readable).text();
    assert.match(answer, /^HTTP\/1.1 4\d\d/);
    assert.doesNotMatch(answer, /secret/);
    assert.equal((await fetch(url, { method: "POST", body: "x" })).status, 405);
  });
});

Deno.test("a port that is taken is said, with what to do", async () => {
  await withServer((_, port) => {
    assert.throws(
      () => serveFolder({ path: ".", port, headers: {} }),
      (error) => error instanceof UserError && /port \d+.*give another with --port/.test(error.message),
    );
    return Promise.resolve();
  });
});

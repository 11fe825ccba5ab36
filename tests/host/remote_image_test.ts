import assert from "node:assert/strict";
import { fetchRemoteImage, isPublicAddress } from "../../lib/host/remote_image.ts";

Deno.test("addresses that are not of the public internet are told from those that are", () => {
  for (
    const address of [
      "127.0.0.1",
      "10.1.2.3",
      "172.31.0.1",
      "192.168.1.1",
      "169.254.169.254",
      "100.64.0.1",
      "0.0.0.0",
      "224.0.0.1",
      "255.255.255.255",
      "::1",
      "::",
      "fe80::1",
      "fd00::1",
      "::ffff:127.0.0.1",
      "64:ff9b::7f00:1",
      "2002:7f00:1::",
      "ff02::1",
      "not an address",
    ]
  ) assert.equal(isPublicAddress(address), false, address);
  for (const address of ["1.1.1.1", "172.32.0.1", "93.184.216.34", "2606:4700::1111"]) {
    assert.equal(isPublicAddress(address), true, address);
  }
});

/** A server on this machine, which only `isAllowed` lets through. */
async function withServer(
  handler: (request: Request) => Response,
  use: (origin: string) => Promise<void>,
): Promise<void> {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, handler);
  try {
    await use(`http://127.0.0.1:${server.addr.port}`);
  } finally {
    await server.shutdown();
  }
}

const LIMITS = { maxBytes: 1000, timeoutMs: 20_000 };
const LOCAL = { ...LIMITS, isAllowed: (address: string) => address === "127.0.0.1" };

Deno.test("an image is fetched, through redirects, within its limits", async () => {
  await withServer((request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/image") return new Response(Uint8Array.of(1, 2, 3));
    if (pathname === "/once") return new Response(null, { status: 302, headers: { location: "/image" } });
    if (pathname === "/large") return new Response(new Uint8Array(5000));
    if (pathname === "/round") return new Response(null, { status: 302, headers: { location: "/round" } });
    if (pathname === "/inside") {
      return new Response(null, { status: 302, headers: { location: "http://169.254.169.254/" } });
    }
    if (pathname === "/file") {
      return new Response(null, { status: 302, headers: { location: "file:///etc/passwd" } });
    }
    return new Response("no", { status: 404 });
  }, async (origin) => {
    for (const path of ["/image", "/once"]) {
      assert.deepEqual([...await fetchRemoteImage(origin + path, LOCAL)], [1, 2, 3]);
    }
    const refused: [string, RegExp, number][] = [
      ["/large", /larger than 1000 bytes/, 413],
      ["/round", /redirects more than 3 times/, 400],
      ["/inside", /not public/, 400],
      ["/file", /file: is not http or https/, 400],
      ["/gone", /answers 404/, 400],
    ];
    for (const [path, message, status] of refused) {
      await assert.rejects(fetchRemoteImage(origin + path, LOCAL), { name: "HttpError", message, status });
    }
    // Without being let through, this machine is out of reach, by address and by name.
    for (
      const address of [
        origin,
        origin.replace("127.0.0.1", "localhost"),
        origin.replace("127.0.0.1", "[::1]"),
        origin.replace("127.0.0.1", "2130706433"),
      ]
    ) {
      await assert.rejects(fetchRemoteImage(`${address}/image`, LIMITS), /not public/, address);
    }
  });
  for (const bad of ["ftp://a/", "nonsense", "http://user:pass@1.1.1.1/"]) {
    await assert.rejects(fetchRemoteImage(bad, LIMITS), { name: "HttpError", status: 400 });
  }
});

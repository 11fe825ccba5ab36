import assert from "node:assert/strict";
import { contentSecurityPolicy, HUB_ORIGINS, isAllowedOrigin } from "../../lib/serve/demo_site.ts";

Deno.test("the policy lets a page fetch from its own site and the given ones, and from nowhere else", () => {
  const directive = (policy: string, name: string) =>
    policy.split("; ").find((one) => one.startsWith(`${name} `));
  assert.equal(directive(contentSecurityPolicy([]), "connect-src"), "connect-src 'self'");
  assert.equal(
    directive(contentSecurityPolicy(["https://a.org", "https://*.b.org"]), "connect-src"),
    "connect-src 'self' https://a.org https://*.b.org",
  );
  assert.equal(directive(contentSecurityPolicy([]), "default-src"), "default-src 'none'");
  assert.doesNotMatch(contentSecurityPolicy(HUB_ORIGINS), /unsafe-inline|'unsafe-eval'|data:| \*/);
});

Deno.test("an origin is allowed as the policy's pattern says: exactly, or below a host", () => {
  const allowed = (url: string) => isAllowedOrigin(new URL(url), HUB_ORIGINS);
  assert.equal(allowed("https://huggingface.co/org/model"), true);
  assert.equal(allowed("https://cdn-lfs.huggingface.co/x"), true);
  assert.equal(allowed("https://cas-bridge.xethub.hf.co/x"), true);
  for (
    const url of [
      "http://huggingface.co/",
      "https://evilhuggingface.co/",
      "https://hf.co/",
      "https://a.org/hf.co",
    ]
  ) {
    assert.equal(allowed(url), false, url);
  }
  assert.equal(isAllowedOrigin(new URL("https://a.org:8443/x"), ["https://a.org"]), false);
  assert.equal(isAllowedOrigin(new URL("http://localhost:9000/x"), ["http://localhost:9000"]), true);
});

import assert from "node:assert/strict";
import { type ApiOptions, createApi, type LogEntry } from "../../lib/serve/api.ts";
import { QueueFullError } from "../../lib/serve/batcher.ts";
import { HttpError } from "../../lib/serve/request_images.ts";

/** An image is its length; 0xff first is no image. A caption tells the length and the options. */
function fakeApi(
  changes: Partial<ApiOptions<number>> = {},
  limits: Partial<ApiOptions<number>["limits"]> = {},
) {
  const log: LogEntry[] = [];
  const batches: number[][] = [];
  let clock = 0;
  const api = createApi<number>({
    model: { id: "m", encoder: "e", decoder: "d", maxLength: 30 },
    prepare: (bytes) =>
      bytes[0] === 0xff
        ? Promise.reject(new SyntaxError("Cannot decode image: unknown content"))
        : Promise.resolve(bytes.length),
    caption: (images, options) => {
      batches.push([...images]);
      return Promise.resolve(images.map((image) => ({
        caption: `${image} bytes ${JSON.stringify(options)}`,
        logProb: -1,
        tokens: 3,
        outOfDomain: image === 9,
      })));
    },
    limits: {
      maxBatch: 4,
      maxWaitMs: 0,
      maxQueue: 8,
      timeoutMs: 60_000,
      maxBodyBytes: 1000,
      maxImages: 5,
      ...limits,
    },
    log: (entry) => log.push(entry),
    now: () => clock++,
    ...changes,
  });
  return { api, log, batches };
}

const url = (path: string): string => `http://server${path}`;
const post = (path: string, body: BodyInit, type?: string, headers: Record<string, string> = {}): Request =>
  new Request(url(path), {
    method: "POST",
    body,
    headers: { ...(type ? { "content-type": type } : {}), ...headers },
  });
const bytes = (...values: number[]): Uint8Array<ArrayBuffer> => Uint8Array.from(values);

Deno.test("an image is captioned as raw bytes, in a form and in JSON, with its options", async () => {
  const { api } = fakeApi();
  const ask = async (request: Request): Promise<unknown> => {
    const response = await api.handle(request);
    assert.equal(response.status, 200, await response.clone().text());
    return (await response.json()).caption;
  };
  assert.equal(
    await ask(post("/api/caption?num_beams=2", bytes(1, 2, 3), "image/png")),
    '3 bytes {"numBeams":2}',
  );
  assert.equal(await ask(post("/api/caption", bytes(1, 2), "application/octet-stream")), "2 bytes {}");
  const form = new FormData();
  form.append("image", new Blob([bytes(1, 2, 3, 4)]), "a.png");
  form.append("temperature", "0.5");
  form.append("seed", "7");
  assert.equal(await ask(post("/api/caption", form)), '4 bytes {"temperature":0.5,"seed":7}');
  const json = (value: object): Request => post("/api/caption", JSON.stringify(value), "application/json");
  assert.equal(
    await ask(json({ image: bytes(5, 6).toBase64(), max_new_tokens: 4 })),
    '2 bytes {"maxNewTokens":4}',
  );
  assert.equal(await ask(json({ image: `data:image/png;base64,${bytes(5).toBase64()}` })), "1 bytes {}");
  const marked = await api.handle(post("/api/caption", new Uint8Array(9), "image/png"));
  assert.equal((await marked.json()).out_of_domain, true);
});

Deno.test("a batch gives every image its own result, bad ones their error", async () => {
  const { api, batches } = fakeApi();
  const images = [bytes(1), bytes(0xff), bytes(1, 2, 3)].map((image) => image.toBase64());
  const response = await api.handle(
    post("/api/caption/batch", JSON.stringify({ images }), "application/json"),
  );
  const { results } = await response.json();
  assert.deepEqual(results[0].caption, "1 bytes {}");
  assert.deepEqual(results[1].error, { code: "bad_image", message: "Cannot decode image: unknown content" });
  assert.deepEqual(results[2].tokens, 3);
  assert.equal(batches.flat().length, 2);
});

Deno.test("an image of a batch that is no base64, or cannot be fetched, leaves the others alone", async () => {
  const { api } = fakeApi({}, {
    maxBodyBytes: 100,
    fetchImage: (address, { maxBytes }) => {
      if (address.endsWith("private")) return Promise.reject(new HttpError(400, "bad_url", "Not public"));
      const image = new Uint8Array(60).fill(1);
      if (image.length > maxBytes) return Promise.reject(new HttpError(413, "too_large", "Larger"));
      return Promise.resolve(image);
    },
  });
  const ask = (path: string, value: object) =>
    api.handle(post(path, JSON.stringify(value), "application/json"));
  const response = await ask("/api/caption/batch", {
    images: ["AQ==", "*"],
    urls: ["h:private", "h:a", "h:b"],
  });
  assert.equal(response.status, 200);
  const { results } = await response.json() as { results: { caption?: string; error?: { code: string } }[] };
  assert.deepEqual(
    results.map(({ caption, error }) => caption ?? error!.code),
    ["1 bytes {}", "bad_base64", "bad_url", "60 bytes {}", "too_large"],
    "images behind addresses are together as large as a body",
  );
  const one = await ask("/api/caption", { url: "h:private" });
  assert.deepEqual([one.status, (await one.json()).error.code], [400, "bad_url"]);
});

Deno.test("a body that breaks off is its sender's doing, no failure of the server", async () => {
  const { api, log } = fakeApi();
  const broken = new ReadableStream({
    pull(controller) {
      controller.error(new TypeError("connection reset"));
    },
  });
  await api.handle(new Request(url("/api/caption"), { method: "POST", body: broken }));
  assert.deepEqual([log[0]!.status, log[0]!.error], [499, "closed"]);
  const metrics = await (await api.handle(new Request(url("/metrics")))).text();
  assert.match(metrics, /^captioner_failures_total 0$/m);
});

Deno.test("what cannot be read is refused with its status and a reason, and other requests go on", async () => {
  const { api, log } = fakeApi();
  const cases: [Request, number, string][] = [
    [post("/api/caption", new Uint8Array(0), "image/png"), 400, "empty_body"],
    [post("/api/caption", new Uint8Array(1001), "image/png"), 413, "too_large"],
    [post("/api/caption", "x", "text/html"), 415, "unsupported_media_type"],
    [post("/api/caption", "{", "application/json"), 400, "bad_json"],
    [post("/api/caption", "[]", "application/json"), 400, "bad_json"],
    [post("/api/caption", "{}", "application/json"), 400, "no_image"],
    [post("/api/caption", '{"image":"*"}', "application/json"), 400, "bad_base64"],
    [post("/api/caption", '{"image":7}', "application/json"), 400, "bad_base64"],
    [post("/api/caption", '{"image":"AAAA","url":"http://a/"}', "application/json"), 400, "urls_not_allowed"],
    [post("/api/caption", '{"image":["AAAA","AAAA"]}', "application/json"), 400, "too_many"],
    [
      post("/api/caption/batch", `{"images":${JSON.stringify(Array(6).fill("AAAA"))}}`, "application/json"),
      413,
      "too_many",
    ],
    [post("/api/caption", "x", "multipart/form-data; boundary=none"), 400, "bad_form"],
    [post("/api/caption", bytes(0xff), "image/png"), 422, "bad_image"],
    [post("/api/caption?num_beam=2", bytes(1), "image/png"), 400, "bad_option"],
    [post("/api/caption?num_beams=2.5", bytes(1), "image/png"), 400, "bad_option"],
    [post("/api/caption?temperature=NaN", bytes(1), "image/png"), 400, "bad_option"],
    [post("/api/caption?max_new_tokens=31", bytes(1), "image/png"), 400, "bad_option"],
    [post("/api/caption?__proto__=1", bytes(1), "image/png"), 400, "bad_option"],
    [new Request(url("/api/caption")), 405, "method_not_allowed"],
    [new Request(url("/nothing")), 404, "not_found"],
    [new Request(url("/constructor")), 404, "not_found"],
  ];
  for (const [request, status, code] of cases) {
    const response = await api.handle(request);
    const { error } = await response.json();
    assert.deepEqual([response.status, error.code], [status, code], JSON.stringify(error));
    assert.ok(error.message.length > 10);
  }
  assert.equal((await api.handle(post("/api/caption", bytes(1), "image/png"))).status, 200);
  assert.equal(log.length, cases.length + 1);
  const put = await api.handle(new Request(url("/healthz"), { method: "PUT" }));
  assert.deepEqual([put.status, put.headers.get("allow")], [405, "GET"]);
  log.pop();
  assert.deepEqual(Object.keys(log.at(-1)!).sort(), ["images", "method", "ms", "path", "status", "time"]);
  assert.equal(
    log.find(({ error }) => error === "not_found")!.path,
    "other",
    "paths of strangers are not logged",
  );
});

Deno.test("a body without a length is cut off at the limit, not read to its end", async () => {
  const { api } = fakeApi();
  let given = 0;
  const endless = new ReadableStream({
    pull(controller) {
      given += 100;
      controller.enqueue(new Uint8Array(100));
    },
  });
  const response = await api.handle(
    new Request(url("/api/caption"), {
      method: "POST",
      body: endless,
      headers: { "content-type": "image/png" },
    }),
  );
  assert.equal(response.status, 413);
  assert.ok(given < 5000);
});

Deno.test("a token is wanted below /api alone", async () => {
  const { api } = fakeApi({ token: "secret" });
  const ask = (authorization?: string) =>
    api.handle(
      post("/api/caption", bytes(1), "image/png", authorization === undefined ? {} : { authorization }),
    );
  for (const wrong of [undefined, "secret", "Bearer secre", "Bearer secrets", "Bearer  secret"]) {
    const response = await ask(wrong);
    assert.equal(response.status, 401);
    assert.equal(response.headers.get("www-authenticate"), "Bearer");
    await response.body?.cancel();
  }
  assert.equal((await ask("Bearer secret")).status, 200);
  assert.equal((await api.handle(new Request(url("/healthz")))).status, 200);
});

Deno.test("browsers of other origins are kept out unless one is allowed", async () => {
  const preflight = () => new Request(url("/api/caption"), { method: "OPTIONS" });
  const closed = await fakeApi().api.handle(preflight());
  assert.equal(closed.status, 405);
  assert.equal(closed.headers.get("access-control-allow-origin"), null);
  const open = await fakeApi({ corsOrigin: "https://a.example" }).api.handle(preflight());
  assert.equal(open.status, 204);
  assert.equal(open.headers.get("access-control-allow-origin"), "https://a.example");
});

Deno.test("a full queue answers 429 with Retry-After, slowness 503, the server's own failure 500 without its text", async () => {
  const held = Promise.withResolvers<never>();
  held.promise.catch(() => {});
  const { api } = fakeApi({ caption: () => held.promise }, { maxQueue: 1, timeoutMs: 30 });
  const asked = Array.from({ length: 3 }, () => api.handle(post("/api/caption", bytes(1), "image/png")));
  const answers = await Promise.all(asked);
  assert.deepEqual(answers.map(({ status }) => status).sort(), [429, 503, 503]);
  for (const { headers } of answers) assert.equal(headers.get("retry-after"), "1");
  held.reject(new Error("end"));
  const broken = fakeApi({ caption: () => Promise.reject(new Error("/home/secret/path")) });
  const response = await broken.api.handle(post("/api/caption", bytes(1), "image/png"));
  assert.equal(response.status, 500);
  assert.doesNotMatch(await response.text(), /secret/);
  assert.equal(broken.log[0]!.detail, "/home/secret/path", "the log says what the answer does not");
  const events = await broken.api.handle(
    post("/api/caption", bytes(1), "image/png", { accept: "text/event-stream" }),
  );
  assert.doesNotMatch(await events.text(), /secret/);
  assert.deepEqual([broken.log.at(-1)!.status, broken.log.at(-1)!.detail], [500, "/home/secret/path"]);
  const metrics = await (await broken.api.handle(new Request(url("/metrics")))).text();
  assert.match(metrics, /^captioner_failures_total 2$/m);
  assert.equal(new QueueFullError("x").name, "QueueFullError");
});

Deno.test("shutting down answers what is in, refuses what comes, and tells /healthz", async () => {
  const held = Promise.withResolvers<void>();
  const { api } = fakeApi({
    caption: async (images) => {
      await held.promise;
      return images.map(() => ({ caption: "late", logProb: 0, tokens: 1, outOfDomain: false }));
    },
  });
  const early = api.handle(post("/api/caption", bytes(1), "image/png"));
  await new Promise((done) => setTimeout(done));
  const closing = api.shutDown();
  assert.equal((await api.handle(new Request(url("/healthz")))).status, 503);
  assert.equal((await api.handle(post("/api/caption", bytes(1), "image/png"))).status, 503);
  held.resolve();
  assert.equal((await early).status, 200);
  await closing;
});

Deno.test("the page, the description, the model and the figures are there", async () => {
  const { api } = fakeApi();
  const page = await api.handle(new Request(url("/")));
  assert.match(await page.text(), /<title>Captions for images<\/title>/);
  assert.match(page.headers.get("content-security-policy")!, /default-src 'none'.*connect-src 'self'/);
  const description = await (await api.handle(new Request(url("/openapi.json")))).json();
  assert.equal(description.openapi, "3.1.0");
  const served = ["/api/caption", "/api/caption/batch", "/api/models", "/healthz", "/metrics"];
  assert.deepEqual(Object.keys(description.paths), served);
  const { responses } = description.paths["/api/caption"].post;
  assert.deepEqual(Object.keys(responses[200].content), ["application/json", "text/event-stream"]);
  assert.ok("500" in responses);
  assert.deepEqual(description.paths["/api/models"].get.security, [{}, { token: [] }]);
  const models = await (await api.handle(new Request(url("/api/models")))).json();
  assert.deepEqual(models, { models: [{ id: "m", encoder: "e", decoder: "d", max_length: 30 }] });
  await api.handle(post("/api/caption", bytes(1), "image/png"));
  const text = await (await api.handle(new Request(url("/metrics")))).text();
  assert.match(text, /^captioner_requests_total\{path="\/api\/caption",status="200"\} 1$/m);
  assert.match(text, /^captioner_batch_size_bucket\{le="1"\} 1$/m);
  assert.match(text, /^# TYPE captioner_queue_depth gauge\ncaptioner_queue_depth 0$/m);
});

Deno.test("a caption is told as it grows to whoever asks for events, errors too", async () => {
  const { api } = fakeApi({
    caption: (images, _options, onTexts) => {
      for (const text of ["A", "A dog", "A dog", "A dog."]) onTexts(images.map(() => text));
      return Promise.resolve(
        images.map(() => ({
          caption: "A dog.",
          logProb: -3,
          tokens: 3,
          confidence: { logProb: -3, logProbPerToken: -1, imageGain: 6, imageGainPerToken: 2 },
          outOfDomain: false,
        })),
      );
    },
  });
  const events = async (body: Uint8Array<ArrayBuffer>): Promise<[string, unknown][]> => {
    const response = await api.handle(
      post("/api/caption", body, "image/png", { accept: "text/event-stream" }),
    );
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    return (await response.text()).trim().split("\n\n").map((event) => {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(event)!;
      return [name!, JSON.parse(data!)];
    });
  };
  assert.deepEqual(await events(bytes(1)), [
    ["text", { caption: "A" }],
    ["text", { caption: "A dog" }],
    ["text", { caption: "A dog." }],
    ["done", {
      model: "m",
      caption: "A dog.",
      log_probability: -3,
      log_probability_per_token: -1,
      image_gain: 6,
      image_gain_per_token: 2,
      tokens: 3,
    }],
  ]);
  const [[name, data]] = await events(bytes(0xff)) as [[string, { error: { code: string } }]];
  assert.deepEqual([name, data.error.code], ["error", "bad_image"]);
});

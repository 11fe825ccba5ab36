import assert from "node:assert/strict";
import { explainRefusal, redact } from "../../../lib/datasets/hub/hub_error.ts";
import { formatListing, ListingReader, parseListing } from "../../../lib/datasets/hub/listing.ts";
import {
  findMissingModelFiles,
  findPickles,
  isPublished,
  selectModelFiles,
} from "../../../lib/datasets/hub/model_files.ts";
import {
  formatHubReference,
  hubPathFault,
  isHubId,
  parseHubReference,
  resolveUrl,
} from "../../../lib/datasets/hub/names.ts";

Deno.test("references are read and written", () => {
  assert.deepEqual(parseHubReference("org/name", "model"), {
    type: "model",
    id: "org/name",
    revision: "main",
  });
  assert.deepEqual(parseHubReference("datasets/o.g/n_a-me@refs/convert/parquet", "model"), {
    type: "dataset",
    id: "o.g/n_a-me",
    revision: "refs/convert/parquet",
  });
  assert.equal(parseHubReference("models/org/name@v1.0", "dataset")!.type, "model");
  for (const text of ["datasets/org/name", "org/name@v1", "org/name"]) {
    assert.equal(formatHubReference(parseHubReference(text, "model")!), text);
  }
  const bad = [
    "name",
    "a/b/c",
    "/b",
    "a/",
    "a/..",
    "../b",
    "a/b@",
    "a/b@../x",
    "a/b@x//y",
    "a/b@.x",
    "a/b@x y",
    "a/-b",
  ];
  for (const text of [...bad, "a/b--c", "a b/c", "a/b.", `a/${"b".repeat(96)}`, "a/b@x\\y", "a/b@x@y"]) {
    assert.equal(parseHubReference(text, "model"), undefined, text);
  }
  assert.ok(isHubId("HuggingFaceTB/SmolLM-135M"));
});

Deno.test("addresses are encoded", () => {
  assert.equal(
    resolveUrl("https://h.co", { type: "dataset", id: "o/n", revision: "refs/pr/1" }, "a b/#1?.txt"),
    "https://h.co/datasets/o/n/resolve/refs%2Fpr%2F1/a%20b/%231%3F.txt",
  );
});

Deno.test("paths that lead out, or into git, are refused", () => {
  const bad = [
    "",
    "/a",
    "a//b",
    "a/",
    "../a",
    "a/../b",
    "a/..",
    "./a",
    "a\\b",
    "a\0b",
    "a\nb",
    ".git/config",
    "x/.GIT/hooks",
  ];
  for (const path of [...bad, "C:/a", "c:a", "a".repeat(1025), "a\ud800"]) {
    assert.ok(hubPathFault(path), JSON.stringify(path));
  }
  for (const path of ["a", ".gitattributes", "a/.hidden", "data/x y.parquet", "ü/é.jpg", "aux.txt", "a..b"]) {
    assert.equal(hubPathFault(path), undefined, path);
  }
  for (const path of ["aux.txt", "a/CON", "a/b ", "a.", "a:b", "x/nul.json"]) {
    assert.ok(hubPathFault(path, { windows: true }), path);
  }
});

const OID = "a".repeat(40);

Deno.test("a listing is believed only when every entry is one", () => {
  const read = (...entries: unknown[]) => {
    const reader = new ListingReader("org/name");
    for (const entry of entries) reader.add(entry);
    return reader.files();
  };
  const good = { type: "file", path: "b.json", size: 3, oid: OID };
  const large = { type: "file", path: "a.bin", size: 130, oid: OID, lfs: { oid: "b".repeat(64), size: 5e9 } };
  const files = read(good, large, { type: "directory", path: "..", oid: OID });
  assert.deepEqual(files, [
    { path: "a.bin", sizeBytes: 5e9, checksum: { algorithm: "sha256", hex: "b".repeat(64) } },
    { path: "b.json", sizeBytes: 3, checksum: { algorithm: "git-sha1", hex: OID } },
  ]);
  assert.deepEqual(parseListing(formatListing(files), "x"), files);
  assert.deepEqual(parseListing(formatListing([]), "x"), []);
  const refused: [unknown, RegExp][] = [
    [null, /no object/],
    [{ ...good, path: 3 }, /no path/],
    [{ ...good, path: "../../etc/passwd" }, /"\.\.\/\.\.\/etc\/passwd": it has the part "\.\."/],
    [{ ...good, size: -1 }, /no size/],
    [{ ...good, size: 1.5 }, /no size/],
    [{ ...good, size: "3" }, /no size/],
    [{ ...good, size: 2e13 }, /20000000000000 bytes/],
    [{ ...good, oid: "../" + OID.slice(3) }, /40 hexadecimal/],
    [{ ...large, lfs: { oid: OID, size: 1 } }, /64 hexadecimal/],
    [{ ...good, type: "link" }, /kind "link"/],
  ];
  for (const [entry, message] of refused) {
    assert.throws(() => read(entry), { name: "HubError", message });
  }
  assert.throws(() => read(good, good), /listed twice/);
  assert.throws(() => parseListing("{}", "x"), /no list/);
});

Deno.test("of a model's repository come configuration, tokenizer and weights, once and never as pickles", () => {
  const files = [
    ".gitattributes",
    "README.md",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "model.fp16.safetensors",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "optimizer.pt",
    "optimizer.safetensors",
    "consolidated.safetensors",
    "onnx/model.onnx",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "checkpoint-1/model.safetensors",
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "training_args.bin",
    "trainer_state.json",
  ];
  assert.deepEqual(selectModelFiles(files), [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
  ]);
  const shards = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
  ];
  assert.deepEqual(selectModelFiles(["config.json", ...shards]), ["config.json", ...shards]);
  assert.deepEqual(findPickles(["config.json", "pytorch_model.bin"]), ["pytorch_model.bin"]);
  assert.deepEqual(findPickles(files), []);
  assert.ok(isPublished("report.html") && isPublished("LICENSE") && !isPublished("manifest.json"));
});

Deno.test("what a model lacks is named", () => {
  const missing = findMissingModelFiles;
  assert.deepEqual(missing(["config.json", "model.safetensors"]), []);
  assert.deepEqual(missing(["config.json", "tokenizer.json"]), ["model.safetensors"]);
  assert.deepEqual(missing(["model.safetensors"]), ["config.json"]);
  assert.deepEqual(missing(["preprocessor_config.json"]), []);
  assert.deepEqual(missing(["adapter_config.json"]), ["adapter_model.safetensors"]);
  assert.deepEqual(missing(["config.json", "model-00002-of-00003.safetensors"]), [
    "model-00001-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
    "model.safetensors.index.json",
  ]);
  assert.deepEqual(missing(["config.json", "model.safetensors.index.json"], ["x.safetensors"]), [
    "x.safetensors",
  ]);
});

Deno.test("messages hold no secrets, and say what to do", () => {
  assert.equal(
    redact("get https://x.org/a?X-Sig=abc&b=1 with hf_abcdefgh and sesame", "sesame"),
    "get https://x.org/a with (token) and (token)",
  );
  const answer = {
    status: 403,
    code: "GatedRepo",
    message: "",
    hasToken: false,
    pageUrl: "https://h.co/o/n",
  };
  assert.match(explainRefusal(answer), /accept its terms at https:\/\/h\.co\/o\/n, then set HF_TOKEN/);
  assert.match(explainRefusal({ ...answer, hasToken: true }), /with the account of your token/);
  assert.match(
    explainRefusal({ ...answer, status: 401, code: null }),
    /no such repository, or it is private.*HF_TOKEN/,
  );
  assert.match(explainRefusal({ ...answer, code: "RevisionNotFound" }), /no such revision/);
});

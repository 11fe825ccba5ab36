import assert from "node:assert/strict";
import { projectPath } from "../../lib/host/model_folders.ts";
import { hubClient, inTemporaryFolder, runTaskScript, tree } from "../support/hub_client.ts";
import { startHub } from "../support/hub_server.ts";

const TOKEN = "hf_abcdefghijklmnopqrstuvwxyz";
const tokens = { [TOKEN]: "ada" };

/** A run's folder: a captioner, and much that stays where it is. */
async function makeRun(folder: string): Promise<string> {
  const run = `${folder}/my-run`;
  await Deno.mkdir(`${run}/adapter`, { recursive: true });
  for (const path of Object.keys(tree(projectPath("data/tiny/captioner")))) {
    await Deno.copyFile(`${projectPath("data/tiny/captioner")}/${path}`, `${run}/${path}`);
  }
  await Deno.mkdir(`${run}/checkpoint-5/adapter`, { recursive: true });
  await Deno.mkdir(`${run}/runs`);
  const stay = [
    ".lock",
    ".env",
    "manifest.json",
    "metrics.jsonl",
    "train.log",
    "optimizer.safetensors",
    "trainer_state.json",
    "training_args.bin",
    "checkpoint-5/optimizer.safetensors",
    "checkpoint-5/adapter/adapter_model.safetensors",
    "runs/events.out.tfevents.1",
    "adapter/notes.txt",
  ];
  for (const path of stay) await Deno.writeTextFile(`${run}/${path}`, "stays here");
  await Deno.symlink("/etc/hostname", `${run}/LICENSE`);
  await Deno.writeTextFile(`${run}/report.html`, "<p>report</p>");
  return run;
}

const PUSHED = [
  "README.md",
  "adapter/adapter_config.json",
  "adapter/adapter_model.safetensors",
  "confidence.json",
  "config.json",
  "preprocessor_config.json",
  "projection.safetensors",
  "report.html",
  "tokenizer.json",
  "tokenizer_config.json",
];

for (const partBytes of [Infinity, 50_000]) {
  const way = partBytes === Infinity ? "whole" : "in parts";
  Deno.test(`a pushed run comes back byte for byte, large files sent ${way}`, async () => {
    await inTemporaryFolder(async (folder) => {
      await using hub = startHub({ tokens, partBytes });
      const run = await makeRun(folder);
      const env = hub.environment(`${folder}/home`, { HF_TOKEN: TOKEN });
      const args = ["--model-id", "ada/captioner", "--save-path", run, "--tag", "v1", "--private", "--json"];
      const pushed = await runTaskScript("tasks/upload.ts", args, env);
      assert.equal(pushed.code, 0, pushed.stderr);
      const { sha, url } = JSON.parse(pushed.stdout);
      assert.equal(url, `${hub.endpoint}/ada/captioner`);
      const stored = hub.repos.get("model ada/captioner")!;
      assert.equal(stored.isPrivate, true);
      assert.equal(stored.refs.get("v1"), sha);
      assert.deepEqual([...stored.commits.get(sha)!.keys()].sort(), [".gitattributes", ...PUSHED]);
      // As others use it: by its tag, from an empty cache.
      const repo = await hubClient(hub, `${folder}/other`, { token: TOKEN }).open("ada/captioner@v1");
      const snapshot = await repo.fetch(PUSHED);
      for (const path of PUSHED) {
        assert.deepEqual(
          await Deno.readFile(`${snapshot.name}/${path}`),
          await Deno.readFile(`${run}/${path}`),
        );
      }
      for (const { origin, method, path, headers } of hub.requests) {
        assert.equal(headers.has("authorization"), origin === "hub", `${method} ${path}`);
      }
      assert.ok(!`${pushed.stdout}${pushed.stderr}`.includes(TOKEN));
      const uploads = hub.requests.filter(({ origin, method }) =>
        origin === "cdn" && method === "PUT"
      ).length;
      assert.ok(partBytes === Infinity ? uploads === 2 : uploads > 5, `${uploads} uploads`);

      // Again: nothing large is sent, the tag is taken.
      hub.requests.length = 0;
      const again = await runTaskScript("tasks/upload.ts", args, env);
      assert.equal(again.code, 1);
      assert.match(again.stderr, /Pushed [0-9a-f]{8} to "ada\/captioner", but: Cannot tag .* as "v1".*409/);
      assert.equal(
        hub.requests.filter(({ origin, method }) => origin === "cdn" && method === "PUT").length,
        0,
      );
    });
  });
}

Deno.test("a push goes to another branch, through a busy store", async () => {
  await inTemporaryFolder(async (folder) => {
    await using hub = startHub({ tokens });
    hub.create("model", "ada/captioner");
    let refusals = 1;
    hub.fault = ({ method }) =>
      method === "PUT" && refusals-- > 0
        ? { kind: "status", status: 503, headers: { "retry-after": "0" } }
        : undefined;
    const run = await makeRun(folder);
    const args = ["--model-id", "ada/captioner", "--save-path", run, "--revision", "dev"];
    const pushed = await runTaskScript(
      "tasks/upload.ts",
      args,
      hub.environment(`${folder}/home`, { HF_TOKEN: TOKEN, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" }),
    );
    assert.equal(pushed.code, 0, pushed.stderr);
    assert.match(pushed.stderr, /again in .* s: the server answered 503/);
    assert.match(pushed.stdout, /projection\.safetensors +66\.3 kB/);
    assert.match(
      pushed.stdout,
      /Left out: \.env, \.lock, LICENSE, adapter\/notes\.txt, checkpoint-5\/, manifest\.json/,
    );
    const { refs, commits } = hub.repos.get("model ada/captioner")!;
    assert.equal(commits.get(refs.get("main")!)!.size, 1);
    assert.equal(commits.get(refs.get("dev")!)!.size, 1 + PUSHED.length);
  });
});

Deno.test("what must not be pushed is refused before anything is sent", async () => {
  await inTemporaryFolder(async (folder) => {
    await using hub = startHub({ tokens });
    const run = await makeRun(folder);
    const push = async (args: string[], env: Record<string, string> = { HF_TOKEN: TOKEN }) =>
      await runTaskScript("tasks/upload.ts", args, hub.environment(`${folder}/home`, env));
    const usual = ["--model-id", "ada/captioner", "--save-path", run];
    const cases: { args: string[]; env?: Record<string, string>; message: RegExp; code?: number }[] = [
      { args: usual, env: {}, message: /without a token: make one that may write at .*set HF_TOKEN/ },
      { args: usual, env: { HF_TOKEN: TOKEN, HF_HUB_OFFLINE: "1" }, message: /HF_HUB_OFFLINE is set/ },
      {
        args: usual,
        env: { HF_TOKEN: "hf_wrongwrongwrongwrongwrong" },
        message: /find the account of the token/,
      },
      { args: ["--model-id", "captioner", "--save-path", run], message: /expected --model-id org\/name/ },
      { args: ["--model-id", "a/b", "--save-path", `${folder}/none`], message: /there is no such folder/ },
      { args: ["--model-id", "a/b", "--save-path", `${run}/runs`], message: /it holds no model yet/ },
      { args: ["--save-path", run], message: /--model-id/, code: 2 },
      { args: [...usual, "--dryrun"], message: /--dry-run/, code: 2 },
    ];
    for (const { args, env, message, code = 1 } of cases) {
      const result = await push(args, env);
      assert.match(result.stderr, message);
      assert.equal(result.code, code, result.stderr);
      assert.ok(!result.stderr.includes("wrongwrong"));
    }
    await Deno.writeTextFile(`${run}/README.md`, `curl -H "Bearer ${TOKEN}"`);
    const leaky = await push(usual);
    assert.match(leaky.stderr, /"README.md" holds what looks like a token/);
    assert.ok(!leaky.stderr.includes(TOKEN));
    await Deno.remove(`${run}/projection.safetensors`);
    await Deno.remove(`${run}/README.md`);
    await Deno.remove(`${run}/adapter`, { recursive: true });
    assert.match((await push(usual)).stderr, /it is no whole model, "model.safetensors" is missing/);
    const dry = await push([
      "--model-id",
      "ada/captioner",
      "--save-path",
      projectPath("data/tiny/llama"),
      "--dry-run",
    ]);
    assert.match(dry.stdout, /model\.safetensors +1\.7 MB/);
    const changes = hub.requests.filter(({ method, path }) => method !== "GET" || !path.includes("whoami"));
    assert.deepEqual(changes, []);
  });
});

Deno.test("a captioner on a folder of this machine is pushed with a warning", async () => {
  await inTemporaryFolder(async (folder) => {
    await using hub = startHub({ tokens });
    const run = await makeRun(folder);
    const config = JSON.parse(await Deno.readTextFile(`${run}/config.json`));
    config.encoder.reference = `${folder}/my-encoder`;
    await Deno.writeTextFile(`${run}/config.json`, JSON.stringify(config));
    const result = await runTaskScript(
      "tasks/upload.ts",
      ["--model-id", "ada/captioner", "--save-path", run, "--dry-run"],
      hub.environment(`${folder}/home`),
    );
    assert.match(result.stderr, /warning: config\.json names the encoder by its folder here/);
    assert.equal(result.code, 0);
  });
});

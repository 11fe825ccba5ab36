import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { curateDataset } from "../../lib/host/curate.ts";
import { connectToHub } from "../../lib/host/hub_env.ts";
import { pushDataset } from "../../lib/host/dataset_push.ts";
import { mergeDatasets } from "../../lib/host/merge_datasets.ts";
import { FAST, hubClient, inTemporaryFolder } from "../support/hub_client.ts";
import { startHub } from "../support/hub_server.ts";

const TOKEN = "hf_test";

Deno.test("a merged data set is pushed file by file, goes on after a break, and opens from the Hub", () =>
  inTemporaryFolder(async (root) => {
    await using hub = startHub({ tokens: { [TOKEN]: "ada" } });
    const client = hubClient(hub, `${root}/cache`, { token: TOKEN });
    const connection = connectToHub(client.environment, { needsToken: true, retry: FAST });
    const merge = (path: string, sample: number) =>
      mergeDatasets({
        datasets: ["sample"],
        sample,
        savePath: `${root}/${path}`,
        seed: 42,
        maxBadRows: 0,
        quiet: true,
        shardBytes: 1,
      });
    await merge("merged", 30);
    const push = (path: string) =>
      pushDataset(`${root}/${path}`, { id: "ada/merged", connection, isPrivate: true, quiet: true });
    const commits = () =>
      hub.requests.filter(({ path, method }) => method === "POST" && path.includes("/commit/")).length;
    // The third commit is refused.
    hub.fault = ({ path }) =>
      path.includes("/commit/") && commits() === 3
        ? { kind: "status", status: 403, message: "no more" }
        : undefined;
    await rejects(push("merged"), { message: /no more|403/ });
    hub.fault = () => undefined;
    strictEqual((await push("merged")).sent, 3);
    const { url, sent } = await push("merged");
    strictEqual(sent, 0);
    ok(url.endsWith("/datasets/ada/merged"));
    const repo = await client.open("datasets/ada/merged");
    deepStrictEqual(repo.files.map(({ path }) => path).filter((path) => path !== ".gitattributes"), [
      "README.md",
      "data/test-00000-of-00001.parquet",
      "data/train-00000-of-00001.parquet",
      "data/validation-00000-of-00001.parquet",
      "merge_report.json",
    ]);
    // Shards of another merge would count as part of the data set.
    await Deno.mkdir(`${root}/other/data`, { recursive: true });
    for (const name of ["README.md", "merge_report.json"]) {
      await Deno.copyFile(`${root}/merged/${name}`, `${root}/other/${name}`);
    }
    await Deno.writeTextFile(`${root}/other/data/train-00000-of-00009.parquet`, "x");
    await rejects(push("other"), { name: "UserError", message: /holds other files.*train-00000-of-00001/ });
    await rejects(push("nothing"), { name: "UserError", message: /no folder of merge-datasets/ });
  }));

Deno.test("a curated data set is pushed as it is", () =>
  inTemporaryFolder(async (root) => {
    await using hub = startHub({ tokens: { [TOKEN]: "ada" } });
    const client = hubClient(hub, `${root}/cache`, { token: TOKEN });
    const connection = connectToHub(client.environment, { needsToken: true, retry: FAST });
    await curateDataset({
      dataset: "sample",
      split: "test",
      sample: 3,
      maxBadRows: 0,
      seed: 42,
      outputDir: `${root}/curated`,
      format: "parquet",
      quiet: true,
    });
    await pushDataset(`${root}/curated`, { id: "ada/curated", connection, isPrivate: false, quiet: true });
    const repo = await client.open("datasets/ada/curated");
    deepStrictEqual(repo.files.map(({ path }) => path).filter((path) => path !== ".gitattributes"), [
      "README.md",
      "data/test-00000-of-00001.parquet",
    ]);
  }));

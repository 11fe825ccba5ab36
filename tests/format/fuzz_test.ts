/** Ten thousand damaged files, here those of tensors and adapters: each is read rightly or refused by an error that names it. */
import assert from "node:assert/strict";
import { Rng } from "../../lib/base/rng.ts";
import { openCheckpoint } from "../../lib/format/checkpoint.ts";
import type { JsonObject, JsonValue } from "../../lib/format/json.ts";
import { type AdapterConfig, encodeAdapter, loraTensorName, openAdapter } from "../../lib/format/peft.ts";
import {
  type Dtype,
  DTYPE_BYTES,
  openSafetensors,
  type TensorData,
  type TensorSource,
  writeSafetensors,
} from "../../lib/format/safetensors.ts";
import { CountedFolder, mutateBytes, mutateJson, readOrRefuse, wordsIn } from "../support/mutate.ts";

const tensor = (dtype: Dtype, ...shape: number[]): TensorData => ({
  dtype,
  shape,
  data: new Uint8Array(shape.reduce((product, n) => product * n, DTYPE_BYTES[dtype])),
});
const FILE = writeSafetensors(
  new Map([
    ["scalar", tensor("F64")],
    ["model.embed", tensor("F32", 3, 5)],
    ["model.norm", tensor("BF16", 7)],
    ["model.ids", tensor("I64", 2)],
    ["model.mask", tensor("BOOL", 3)],
    ["empty", tensor("F16", 0, 4)],
  ]),
  { format: "pt" },
);
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** A safetensors file with something wrong in its bytes, its header, or where its tensors lie. */
function mutateSafetensors(rng: Rng, file: Uint8Array): Uint8Array<ArrayBuffer> {
  const kind = rng.int(4);
  if (kind === 0) return mutateBytes(rng, file);
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(textOf(file.subarray(8, 8 + length))) as Record<string, Entry>;
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__").map(([, entry]) =>
    entry
  );
  let text = JSON.stringify(header);
  if (kind === 1) {
    const [a, b] = [rng.pick(entries), rng.pick(entries)];
    switch (rng.int(7)) {
      case 0:
        [a.data_offsets, b.data_offsets] = [b.data_offsets, a.data_offsets];
        break;
      case 1:
        a.data_offsets[rng.int(2)]! += rng.int(9) - 4;
        break;
      case 2:
        a.data_offsets = [...b.data_offsets];
        break;
      case 3:
        a.shape = rng.pick([[2 ** 53 - 1, 2], [1e9, 1e9, 1e9], [2 ** 32, 2 ** 21], Array(40).fill(1), [
          -3,
          -5,
        ], [0]]);
        break;
      case 4:
        a.data_offsets = rng.pick([[0, 2 ** 53 - 1], [2 ** 52, 2 ** 52 + 60], [60, 0], [-4, 4], [0.5, 8.5]]);
        break;
      case 5:
        a.dtype = rng.pick([...Object.keys(DTYPE_BYTES), "f32", "F8", "toString"]);
        break;
      default:
        a.shape = a.shape.toReversed();
    }
    text = JSON.stringify(header);
  } else if (kind === 2) {
    text = mutateJson(rng, header as unknown as JsonValue, [...wordsIn(header as unknown as JsonValue)]);
  }
  const encoded = bytesOf(text + " ".repeat(rng.int(8)));
  const built = new Uint8Array(8 + encoded.length + file.length - 8 - length);
  let said = BigInt(encoded.length);
  if (kind === 3) {
    said = rng.pick([
      said + 1n,
      said - 1n,
      0n,
      1n,
      2n ** 32n,
      2n ** 63n,
      2n ** 64n - 1n,
      BigInt(built.length),
    ]);
  }
  new DataView(built.buffer).setBigUint64(0, said, true);
  built.set(encoded, 8);
  built.set(file.subarray(8 + length), 8 + encoded.length);
  return built;
}

/** Reads every tensor and asserts that it is what the header says. */
async function readAll(source: TensorSource): Promise<void> {
  for (const [name, { dtype, shape }] of source.tensors) {
    const size = shape.reduce((product, n) => product * n, DTYPE_BYTES[dtype]);
    assert.equal((await source.read(name)).length, size);
  }
}

/** Reads what `read` opens in damaged folders; gives how many of them were good all the same. */
async function fuzz(
  count: number,
  make: (rng: Rng) => Map<string, Uint8Array>,
  read: (folder: CountedFolder) => Promise<void>,
): Promise<number> {
  let good = 0;
  for (let i = 0; i < count; i++) {
    const folder = new CountedFolder("damaged", make(new Rng(i)));
    try {
      if (await readOrRefuse(folder, "damaged", read)) good++;
    } catch (wrong) {
      throw new Error(`case ${i}`, { cause: wrong });
    }
  }
  assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  return good;
}

Deno.test("3500 damaged safetensors files are read rightly or refused", async () => {
  const good = await fuzz(
    3500,
    (rng) => new Map([["a.safetensors", mutateSafetensors(rng, FILE)]]),
    async (folder) => {
      const file = await openSafetensors((await folder.open("a.safetensors"))!);
      // Every byte behind the header belongs to one tensor.
      const places = [...file.tensors.values()].sort((a, b) => a.start - b.start || a.end - b.end);
      for (const [i, { start }] of places.entries()) {
        if (i > 0) assert.equal(start, places[i - 1]!.end);
      }
      if (places.length > 0) assert.equal(places.at(-1)!.end, folder.files.get("a.safetensors")!.length);
      await readAll(file);
    },
  );
  // Neither all nor none: the mutations reach past the first check.
  assert.ok(good > 100 && good < 2500, `${good} were good`);
});

const NAMES = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
const SHARDS = [["a", "b"], ["c"]].map((names) =>
  writeSafetensors(new Map(names.map((name) => [name, tensor("F32", 2, 3)])))
);
const INDEX = {
  metadata: { total_size: 72 },
  weight_map: { a: NAMES[0], b: NAMES[0], c: NAMES[1] },
} satisfies JsonObject;

Deno.test("2000 damaged indexes and shards are read rightly or refused", async () => {
  const words = [
    ...wordsIn(INDEX),
    "../x.safetensors",
    "/etc/x.safetensors",
    "a\\b.safetensors",
    "x.bin",
    "..",
    "C:x.safetensors",
  ];
  const good = await fuzz(2000, (rng) => {
    const files = new Map<string, Uint8Array>([
      ["model.safetensors.index.json", bytesOf(JSON.stringify(INDEX))],
      [NAMES[0], SHARDS[0]!],
      [NAMES[1], SHARDS[1]!],
    ]);
    const which = rng.int(4);
    const name = [...files.keys()][Math.max(0, which - 1)]!;
    if (which === 0) files.set(name, bytesOf(mutateJson(rng, INDEX, words)));
    else if (which === 1) files.set(name, mutateBytes(rng, files.get(name)!));
    else if (rng.int(8) === 0) files.delete(name);
    else files.set(name, mutateSafetensors(rng, files.get(name)!));
    return files;
  }, async (folder) => {
    const checkpoint = await openCheckpoint(folder);
    assert.ok([...folder.asked.keys()].every((path) => !/[/\\:]/.test(path)));
    await readAll(checkpoint);
  });
  assert.ok(good > 50 && good < 1500, `${good} were good`);
});

const ADAPTER: AdapterConfig = {
  baseModel: "decoder",
  rank: 2,
  alpha: 8,
  dropout: 0.1,
  targetModules: ["q_proj", "mlp.up_proj"],
  useRslora: false,
  rankPattern: { up_proj: 3 },
  alphaPattern: { q_proj: 4 },
  modulesToSave: null,
  taskType: "CAUSAL_LM",
};

Deno.test("1500 damaged adapters are read rightly or refused", async () => {
  const pair = (path: string, rank: number): [string, TensorData][] => [
    [loraTensorName(path, "A"), tensor("F32", rank, 5)],
    [loraTensorName(path, "B"), tensor("F32", 4, rank)],
  ];
  const whole = encodeAdapter(
    ADAPTER,
    new Map([...pair("layers.0.q_proj", 2), ...pair("layers.0.mlp.up_proj", 3)]),
  );
  const settings = JSON.parse(textOf(whole.get("adapter_config.json")!));
  const good = await fuzz(1500, (rng) => {
    const files = new Map<string, Uint8Array>(whole);
    const [config, weights] = ["adapter_config.json", "adapter_model.safetensors"] as const;
    const which = rng.int(5);
    if (which < 3) files.set(config, bytesOf(mutateJson(rng, settings, wordsIn(settings))));
    else if (which === 3) files.set(config, mutateBytes(rng, files.get(config)!));
    else files.set(weights, mutateSafetensors(rng, files.get(weights)!));
    return files;
  }, async (folder) => {
    const { config, modules, tensors } = await openAdapter(folder);
    assert.ok(Number.isSafeInteger(config.rank) && config.rank >= 1 && Number.isFinite(config.alpha));
    for (const { inFeatures, outFeatures } of modules.values()) {
      assert.ok(inFeatures >= 0 && outFeatures >= 0);
    }
    await readAll(tensors);
  });
  assert.ok(good > 100 && good < 1300, `${good} were good`);
});

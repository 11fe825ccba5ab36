import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { type FeatureBlobs, type FeatureImage, Features } from "../../lib/train/features.ts";

function image(number: number, decoded: number[] = []): FeatureImage {
  return {
    id: `${number}.png`,
    sha256: `hash-${number}`,
    pixelValues: () => {
      decoded.push(number);
      return number < 0 ? Promise.reject(new Error("damaged")) : Promise.resolve(Float32Array.of(number, 1));
    },
  };
}

/** An encoder whose features are twice the pixels, and how many images it was given at a time. */
function encoder(): {
  encode: (pixels: Float32Array, count: number) => Promise<Float32Array>;
  batches: number[];
} {
  const batches: number[] = [];
  return {
    batches,
    encode(pixels, count) {
      batches.push(count);
      return Promise.resolve(pixels.map((value) => 2 * value));
    },
  };
}

function memoryBlobs(): FeatureBlobs & { blobs: Map<string, Float32Array> } {
  const blobs = new Map<string, Float32Array>();
  return {
    blobs,
    get: (key) => Promise.resolve(blobs.get(key)),
    put: (key, values) => Promise.resolve(blobs.set(key, values) !== undefined),
  };
}

const onBad = () => ok(false, "no image is bad");

Deno.test("features are encoded in batches and handed out in the order asked for", async () => {
  const { encode, batches } = encoder();
  const features = new Features({ encode, batchSize: 4, identity: "e" });
  const images = Array.from({ length: 21 }, (_, i) => image(i));
  strictEqual(await features.prepare(images, { onBad }), 21);
  deepStrictEqual(batches, [4, 4, 4, 4, 4, 1]);
  deepStrictEqual([...await features.get(["hash-7", "hash-0", "hash-7"])], [14, 2, 0, 2, 14, 2]);
});

Deno.test("a second run takes everything from the cache, and another encoder nothing", async () => {
  const cache = memoryBlobs();
  const images = Array.from({ length: 5 }, (_, i) => image(i));
  await new Features({ ...encoder(), batchSize: 2, identity: "e", cache }).prepare(images, { onBad });
  const decoded: number[] = [];
  const again = new Features({ ...encoder(), batchSize: 2, identity: "e", cache });
  strictEqual(await again.prepare(Array.from({ length: 5 }, (_, i) => image(i, decoded)), { onBad }), 0);
  deepStrictEqual(decoded, []);
  deepStrictEqual([...await again.get(["hash-3"])], [6, 2]);
  const other = new Features({ ...encoder(), batchSize: 2, identity: "other", cache });
  strictEqual(await other.prepare(images, { onBad }), 5);
});

Deno.test("what neither memory nor cache kept is computed again", async () => {
  const decoded: number[] = [];
  const features = new Features({ ...encoder(), batchSize: 2, identity: "e", maxMemoryBytes: 17 });
  await features.prepare([0, 1, 2, 3].map((i) => image(i, decoded)), { onBad });
  const wanted = [0, 2, 2, 2, 4, 2, 6, 2];
  deepStrictEqual([...await features.get(["hash-0", "hash-1", "hash-2", "hash-3"])], wanted);
  deepStrictEqual(decoded, [0, 1, 2, 3, 2, 3]);
});

Deno.test("bad images are reported with their reason and the others go on", async () => {
  const bad: string[] = [];
  const features = new Features({ ...encoder(), batchSize: 2, identity: "e" });
  await features.prepare([image(1), image(-2), image(3)], {
    onBad: ({ id }, reason) => bad.push(`${id}: ${reason}`),
  });
  deepStrictEqual(bad, ["-2.png: damaged"]);
  deepStrictEqual([...await features.get(["hash-3"])], [6, 2]);
  await rejects(features.get(["hash--2"]), { name: "RangeError", message: /not prepared/ });
});

Deno.test("an error of the encoder ends the preparation, an abort too", async () => {
  const encode = () => Promise.reject(new Error("device lost"));
  await rejects(
    new Features({ encode, batchSize: 1, identity: "e" }).prepare([image(1)], { onBad }),
    /device lost/,
  );
  const signal = AbortSignal.abort();
  await rejects(
    new Features({ ...encoder(), batchSize: 1, identity: "e" }).prepare([image(1)], { onBad, signal }),
    { name: "AbortError" },
  );
});

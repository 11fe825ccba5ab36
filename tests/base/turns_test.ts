import assert from "node:assert/strict";
import { Turns } from "../../lib/base/turns.ts";

Deno.test("turns begin when those before have ended, also after one that failed", async () => {
  const turns = new Turns();
  const log: string[] = [];
  const gates = [0, 1, 2].map(() => Promise.withResolvers<void>());
  const results = gates.map((gate, i) =>
    turns.take(async () => {
      log.push(`begin ${i}`);
      await gate.promise;
      log.push(`end ${i}`);
      if (i === 1) throw new RangeError("second");
      return i;
    })
  );
  gates[2]!.resolve();
  gates[1]!.resolve();
  gates[0]!.resolve();
  assert.deepEqual((await Promise.allSettled(results)).map(({ status }) => status), [
    "fulfilled",
    "rejected",
    "fulfilled",
  ]);
  assert.deepEqual(log, ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]);
  assert.equal(await results[2], 2);
});

/**
 * Pairs of image and caption accepted, edited or rejected by people at a page on this machine.
 *
 * @module
 */

import { runTask } from "../lib/host/arguments.ts";
import { Review } from "../lib/host/review.ts";
import { describeExport, parseReviewArguments } from "../lib/host/review_command.ts";

await runTask(async ({ handleInterrupt }) => {
  const { port, export: isExport, json, ...options } = parseReviewArguments(Deno.args);
  using review = await Review.open(options);
  if (isExport) {
    const result = await review.export();
    console.log(json ? JSON.stringify(result) : describeExport(result));
    return;
  }
  const signal = handleInterrupt();
  const server = review.serve(port);
  const { accept, edit, reject } = review.counts();
  console.log(
    `http://127.0.0.1:${server.addr.port} shows ${review.size} pairs, ${
      accept + edit + reject
    } of them decided\n` +
      `Decisions are saved in ${options.decisions} as you make them. Ctrl-C ends; --export writes ${options.outputDir}`,
  );
  signal.addEventListener("abort", () => void server.shutdown(), { once: true });
  await server.finished;
});

/**
 * Fine-tunes a captioner: a projection and LoRA over a frozen vision encoder and language model.
 *
 * deno task train --dataset my-images --num-train-epochs 3
 * deno task train-modern --dataset my-images
 * deno task train --dataset my-images --sweep grid.json
 * DATASET="my-images others" EPOCHS=5 deno task train --encoder-model google/siglip-so400m-patch14-384
 *
 * An interrupted run is continued by the same command. Ctrl-C saves first.
 *
 * @module
 */

import { runTask } from "../lib/host/arguments.ts";
import { runTrainTask } from "../lib/host/train_task.ts";

await runTask(({ handleInterrupt }) =>
  runTrainTask(Deno.args, { environment: Deno.env.toObject(), handleInterrupt })
);

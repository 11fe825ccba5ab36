/**
 * Shows and prunes the cache of Hub files, which Python's packages share.
 *
 * deno task cache
 * deno task cache prune --unreferenced --older-than 30
 *
 * @module
 */

import { Argument, createCommand, EXIT_CODES, parseNumber, runTask } from "../lib/host/arguments.ts";
import { measureFeatureCache, resolveCacheDir } from "../lib/host/cache.ts";
import { describeHubCache, describePrune } from "../lib/host/hub_cache_report.ts";
import { planPrune, prune, scanHubCache } from "../lib/host/hub_cache_scan.ts";
import { readHubEnvironment } from "../lib/host/hub_env.ts";
import { formatBytes } from "../lib/host/terminal.ts";
import { UserError } from "../lib/base/errors.ts";

await runTask(async () => {
  const command = createCommand("cache", "List, measure and prune the cache of Hub files that Python shares")
    .addArgument(
      new Argument("[action]", "what to do").choices(["list", "size", "prune"] as const).default(
        "list" as const,
      ),
    )
    .option("--repo <id>", "only org/name or datasets/org/name")
    .option("--unreferenced", "prune commits that no branch or tag stands for", false)
    .option("--older-than <days>", "prune commits to which nothing was added since", parseNumber({ min: 0 }))
    .option("--yes", "prune without asking", false)
    .option("--cache-dir <folder>", "cached features (default: below the user's cache folder)")
    .option("--json", "print one JSON object", false)
    .parse();
  const { repo, unreferenced, olderThan, yes, json, cacheDir } = command.opts();
  const [action] = command.processedArgs;
  const folder = readHubEnvironment().cacheDir;
  const all = await scanHubCache(folder);
  if (action !== "prune") {
    const repos = repo === undefined
      ? all
      : (await planPrune(all, { repo }, Date.now())).map((plan) => plan.repo);
    const featuresDir = `${resolveCacheDir(cacheDir)}/features`;
    const features = { folder: featuresDir, ...await measureFeatureCache(featuresDir) };
    const sizeBytes = repos.reduce((sum, one) => sum + one.sizeBytes, 0);
    if (json) return console.log(JSON.stringify({ folder, sizeBytes, repos, features }));
    if (action === "list") console.log(describeHubCache(repos));
    console.log(`Hub files  ${formatBytes(sizeBytes)} in ${folder}`);
    console.log(
      `Features   ${formatBytes(features.sizeBytes)} in ${featuresDir} (emptied by train --prune-cache)`,
    );
    return;
  }
  if (!unreferenced && olderThan === undefined && repo === undefined) {
    throw new UserError(
      "Cannot prune everything at once: name --unreferenced, --older-than DAYS or --repo ID",
    );
  }
  const plans = await planPrune(all, {
    unreferenced,
    ...(olderThan === undefined ? {} : { olderThanDays: olderThan }),
    ...(repo === undefined ? {} : { repo }),
  }, Date.now());
  const freedBytes = plans.reduce((sum, plan) => sum + plan.freedBytes, 0);
  if (!json) console.log(describePrune(plans));
  if (
    plans.length > 0 && !yes && !(Deno.stdin.isTerminal() && confirm(`Remove ${formatBytes(freedBytes)}?`))
  ) {
    console.error("Nothing was removed; run again with --yes");
    return EXIT_CODES.error;
  }
  for (const plan of plans) await prune(plan, folder);
  const removed = plans.map((plan) => ({ ...plan, repo: `${plan.repo.type}s/${plan.repo.id}` }));
  console.log(json ? JSON.stringify({ folder, freedBytes, removed }) : `Removed ${formatBytes(freedBytes)}`);
});

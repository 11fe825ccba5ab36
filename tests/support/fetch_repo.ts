/**
 * Fetches every file of a repository by the environment's Hub and prints the snapshot's folder; a process to be killed.
 */

import { openHubRepo } from "../../lib/host/hub_repo.ts";

const repo = await openHubRepo(Deno.args[0]!);
console.log((await repo.fetch(repo.files.map(({ path }) => path))).name);

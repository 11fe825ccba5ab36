/**
 * Keeps the Vulkan loader's chatter away from the user.
 *
 * @module
 */

/** Gives the driver the private runtime folder it asks for. Call before the first adapter is requested. */
export function prepareDriverEnvironment(): void {
  if (Deno.build.os !== "linux" || Deno.env.get("XDG_RUNTIME_DIR")) return;
  Deno.env.set("XDG_RUNTIME_DIR", Deno.makeTempDirSync({ prefix: "runtime-" }));
}

/**
 * What the graphics driver needs from the process's environment before the first adapter is requested.
 *
 * @module
 */

/**
 * Prepares the environment of this process and its children; does nothing outside Linux, and nothing twice.
 *
 * - `XDG_RUNTIME_DIR`: without a folder of that name the Vulkan loader complains on stderr, where nobody can act on it. A
 *   private one is made and removed again when the process ends.
 * - `DENO_WEBGPU_BACKEND`: held to Vulkan, unless set. Where Vulkan is missing an OpenGL adapter would be found instead,
 *   which lacks what the kernels rely on and hides that the driver is not installed.
 */
export function prepareDriverEnvironment(): void {
  if (Deno.build.os !== "linux") return;
  if (!Deno.env.get("DENO_WEBGPU_BACKEND")) Deno.env.set("DENO_WEBGPU_BACKEND", "vulkan");
  if (isFolder(Deno.env.get("XDG_RUNTIME_DIR"))) return;
  let folder: string;
  try {
    folder = Deno.makeTempDirSync({ prefix: "runtime-" }); // mode 700
  } catch {
    return; // nowhere to write: chatter is all that is lost
  }
  Deno.env.set("XDG_RUNTIME_DIR", folder);
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
}

function isFolder(path: string | undefined): boolean {
  if (!path) return false;
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

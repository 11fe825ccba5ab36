/**
 * How answers of the tests' Hub go wrong.
 */

/** How an answer with a file's bytes goes wrong. */
export type Fault =
  | { kind: "cut"; afterBytes: number } // the connection breaks
  | { kind: "short"; afterBytes: number } // the body ends early, and nothing says so
  | { kind: "stall"; afterBytes: number } // nothing more comes
  | { kind: "flip"; at: number } // a byte is another
  | { kind: "noRange" } // the whole file comes
  | { kind: "wrongRange" } // another part comes
  | { kind: "length"; bytes: number } // the file has another length there
  | { kind: "version"; etag: string } // the file is another one there
  | { kind: "slow"; chunkBytes: number; delayMs: number }
  | { kind: "status"; status: number; headers?: Record<string, string>; message?: string };

/** Makes a good answer bad; what stalls does so until the signal. */
export async function spoil(
  response: Response,
  fault: Exclude<Fault, { kind: "status" }>,
  end: AbortSignal,
): Promise<Response> {
  if (response.body === null) return response; // a redirect: the fault is for the bytes
  const headers = new Headers(response.headers);
  const whole = new Uint8Array(await response.arrayBuffer());
  const answer = (body: BodyInit, status = response.status) => new Response(body, { status, headers });
  switch (fault.kind) {
    case "noRange":
      return answer(whole);
    case "flip":
      if (fault.at < whole.length) whole[fault.at]! ^= 1;
      return answer(whole);
    case "length":
      headers.delete("content-range");
      return answer(new Uint8Array(fault.bytes), 200);
    case "version":
      headers.set("etag", fault.etag);
      return answer(whole);
    case "wrongRange":
      headers.set("content-range", `bytes 0-${whole.length - 1}/${whole.length}`);
      return answer(whole, 206);
    case "slow":
      return answer(slowly(whole, fault));
    case "cut":
    case "stall":
      return answer(broken(whole.subarray(0, fault.afterBytes), fault.kind, end));
    default:
      headers.delete("content-length");
      return answer(
        new ReadableStream({
          start(controller) {
            controller.enqueue(whole.subarray(0, fault.afterBytes));
            controller.close();
          },
        }),
      );
  }
}

function broken(bytes: Uint8Array, kind: "cut" | "stall", end: AbortSignal): ReadableStream<Uint8Array> {
  let isSent = false;
  return new ReadableStream({
    async pull(controller) {
      if (!isSent && bytes.length > 0) {
        controller.enqueue(bytes);
        isSent = true;
        return;
      }
      if (kind === "stall") await new Promise((resolve) => end.addEventListener("abort", resolve));
      else await new Promise((resolve) => setTimeout(resolve, 5)); // lets the bytes go out
      controller.error(new Error("broken on purpose"));
    },
  });
}

function slowly(
  bytes: Uint8Array,
  { chunkBytes, delayMs }: { chunkBytes: number; delayMs: number },
): ReadableStream<Uint8Array> {
  let sent = 0;
  return new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      if (sent >= bytes.length) return controller.close();
      controller.enqueue(bytes.subarray(sent, sent += chunkBytes));
    },
  });
}

import assert from "node:assert/strict";
import { type DeviceReport, formatDeviceReport, reportDevice } from "../../lib/host/device_report.ts";

const REPORT: DeviceReport = {
  vendor: "65541",
  architecture: "",
  device: "0",
  description: "llvmpipe (LLVM 15.0.6, 256 bits)",
  software: true,
  subgroupSize: 8,
  limits: { maxStorageBufferBindingSize: 134217728, maxComputeInvocationsPerWorkgroup: 1024 },
  features: ["shader-f16", "subgroups"],
  matmul: [{ weights: "f32", gflops: 54.26 }, { weights: "bf16", gflops: 66.5 }],
  runtime: { deno: "2.9.6", os: "linux", arch: "x86_64", cores: 2 },
};

Deno.test("a device's report names adapter, limits with their sizes, features and rates", () => {
  const text = formatDeviceReport(REPORT);
  for (
    const part of [
      /adapter +llvmpipe \(LLVM 15\.0\.6, 256 bits\)/,
      /kind +software, on 2 processor cores/,
      /maxStorageBufferBindingSize +134217728 \(134\.2 MB\)/,
      /maxComputeInvocationsPerWorkgroup +1024\n/,
      /features +shader-f16, subgroups/,
      /matmul, f32 +54\.3 GFLOP\/s/,
      /904 x 1536 x 576/,
    ]
  ) assert.match(text, part);
});

Deno.test("a device without fixed subgroups says so", () => {
  const text = formatDeviceReport({ ...REPORT, software: false, subgroupSize: 0 });
  assert.match(text, /subgroups +size not fixed/);
  assert.match(text, /kind +hardware/);
});

Deno.test("the device at hand is measured", async () => {
  const report = await reportDevice();
  assert.deepEqual(report.matmul.map(({ weights }) => weights), ["f32", "bf16"]);
  assert.ok(report.matmul.every(({ gflops }) => gflops > 0 && Number.isFinite(gflops)));
  assert.ok(Object.values(report.limits).every((limit) => limit > 0));
});

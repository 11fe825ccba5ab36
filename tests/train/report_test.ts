import { ok, strictEqual } from "node:assert/strict";
import { escapeHtml } from "../../lib/format/html.ts";
import { lineChart } from "../../lib/format/chart.ts";
import { formatModelCard } from "../../lib/train/model_card.ts";
import { formatReport, type ReportData } from "../../lib/train/report.ts";

const IMAGE = "data:image/png;base64,iVBORw0KGgo=";

function data(changes: Partial<ReportData> = {}): ReportData {
  return {
    title: "A run",
    facts: [["encoder", "data/tiny/siglip"]],
    log: [
      { step: 1, epoch: 0.5, loss: 4, grad_norm: 2, learning_rate: 0 },
      { step: 2, epoch: 1, loss: 3, grad_norm: 1, learning_rate: 3e-4 },
      { step: 2, epoch: 1, eval_exact_match: 0.125, eval_loss: 3.25, eval_rougeL: 0.5 },
    ],
    peakLearningRates: { projection: 3e-4, lora: 1e-4 },
    metricsOn: "test split, 100 images",
    before: { loss: 6, rougeL: 0, exact_match: 0 },
    after: { loss: 0.5, rougeL: 0.9, exact_match: 0.625 },
    samples: [{ image: IMAGE, references: ["A red car."], before: "", after: "A red bus." }],
    ...changes,
  };
}

Deno.test("the report shows facts, metrics, curves, evaluations and samples", () => {
  const html = formatReport(data());
  for (
    const wanted of [
      "data/tiny/siglip",
      "test split, 100 images",
      "62.5 %",
      "6.000",
      "3.250",
      "12.5 %",
      "A red car.",
      "A red bus.",
      "(nothing)",
      IMAGE,
      "validation",
      "lora",
    ]
  ) ok(html.includes(wanted), `the report has "${wanted}"`);
  ok(html.includes(`alt="A red car."`), "the picture is described by its reference");
  ok(
    html.includes(
      `aria-label="Loss by optimizer step: training from 4 at 1 to 3 at 2; validation 3.25 at 2"`,
    ),
  );
  ok(html.indexOf("ROUGE-L", html.indexOf("Evaluations")) < html.lastIndexOf("Exact match"));
  strictEqual(html.match(/<svg/g)?.length, 3);
  strictEqual(html.match(/<polyline/g)?.length, 5);
});

Deno.test("captions of the same images are told by step, each change once", () => {
  const captions = ["A <red> bus.", "A <red> bus.", "A red car.", "", "A red car."].map((caption, i) => ({
    step: 10 * (i + 1),
    caption,
  }));
  const html = formatReport(data({ watched: [{ image: IMAGE, references: ["A red car."], captions }] }));
  ok(html.includes("Captions on the way"));
  for (
    const told of [
      "<dt>steps 10 to 20</dt><dd>A &lt;red&gt; bus.</dd>",
      "<dt>step 30</dt><dd>A red car.</dd>",
      "<dt>step 40</dt><dd>(nothing)</dd>",
      "<dt>step 50</dt><dd>A red car.</dd>",
    ]
  ) ok(html.includes(told), told);
  strictEqual(html.match(/A &lt;red&gt; bus/g)!.length, 1);
  ok(!formatReport(data()).includes("Captions on the way"));
});

Deno.test("with rewards the report shows them, their variance, and cross-entropy beside the validation loss", () => {
  const log = [1, 2].map((step) => ({
    step,
    epoch: step,
    loss: 9,
    cross_entropy: 4 - step,
    grad_norm: 1,
    learning_rate: 1e-4,
    reward: step / 10,
    reward_greedy: step / 5,
    reward_guard: 0.5,
    reward_variance: step,
  }));
  const html = formatReport(
    data({ log: [...log, { step: 2, epoch: 2, eval_loss: 3.25, eval_cider_d: 1.5 }] }),
  );
  for (
    const label of [
      "Cross-entropy by optimizer step: training from 3 at 1 to 2 at 2; validation 3.25 at 2",
      "Reward by optimizer step: sampled captions from 0.1 at 1 to 0.2 at 2; greedy captions from 0.2 at 1 to 0.4 at 2",
      "Variance of the reward by optimizer step: sampled captions from 1 at 1 to 2 at 2",
    ]
  ) ok(html.includes(label), label);
  ok(html.includes("CIDEr-D") && html.includes("1.500"), "CIDEr is no share");
});

Deno.test("the report opens offline: no scripts, and no addresses but those inside it", () => {
  const html = formatReport(data());
  ok(!/<script|https?:\/\/|@import|url\(/i.test(html));
  ok(html.includes('name="viewport"') && html.includes("prefers-color-scheme:dark"));
});

Deno.test("text cannot become markup", () => {
  const evil = `<script>alert("1")</script>'&`;
  const html = formatReport(data({
    title: evil,
    facts: [[evil, evil]],
    metricsOn: evil,
    after: { [evil]: 1 },
    peakLearningRates: { [evil]: 1 },
    samples: [
      { image: `x" onerror="alert(1)`, references: [evil], before: evil, after: evil },
      { image: "data:image/svg+xml;base64,AAAA", references: [evil], after: evil },
    ],
  }));
  ok(!html.includes("<script") && !html.includes("onerror"));
  ok(!html.includes("<img"), "addresses other than those of plain pictures are left out");
  strictEqual(escapeHtml(evil), "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;");
});

Deno.test("an empty training still gives a page", () => {
  const { before: _before, after: _after, metricsOn: _on, ...rest } = data({ log: [], samples: [] });
  const html = formatReport(rest);
  ok(html.includes("</html>") && !html.includes("<svg") && !/NaN|undefined|Infinity/.test(html));
});

Deno.test("a chart of a long run is thinned out and stays inside its frame", () => {
  const points = Array.from({ length: 5000 }, (_, i) => ({ x: i, y: Math.exp(-i / 500) + 1e-7 * i }));
  const svg = lineChart({ title: "t", xLabel: "x", series: [{ name: "a", points }] });
  const drawn = /points="([^"]+)"/.exec(svg)![1]!.split(" ").map((pair) => pair.split(",").map(Number));
  ok(drawn.length <= 360 && drawn.length > 300);
  ok(drawn.every(([x, y]) => x! >= 84 && x! <= 706 && y! >= 18 && y! <= 242));
});

Deno.test("a chart of equal values, one point, or bad numbers has no NaN", () => {
  for (const ys of [[1, 1, 1], [0], [2, NaN, Infinity]]) {
    const points = ys.map((y, x) => ({ x, y }));
    const svg = lineChart({ title: "t", xLabel: "x", series: [{ name: "a", points }] });
    ok(svg.includes("<svg") && !/NaN|Infinity/.test(svg), svg);
  }
});

Deno.test("the model card has the hub's metadata and the command", () => {
  const card = formatModelCard({
    name: "tiny",
    encoder: "google/siglip-base-patch16-224",
    decoder: "HuggingFaceTB/SmolLM-135M",
    datasets: ["sample"],
    settings: [["batch size", "8"], ["odd | name", "a\nb"]],
    metrics: { eval_loss: 0.25, eval_exact_match: 0.5 },
    metricsOn: "validation split",
    captionCommand: "deno task caption --model runs/tiny image.png",
  });
  ok(card.startsWith("---\nlanguage: en\n"));
  ok(card.includes(`  - "HuggingFaceTB/SmolLM-135M"`) && card.includes("base_model_relation: adapter"));
  ok(card.includes(`- type: "exact_match"\n            value: 0.5`));
  ok(card.includes("| Exact match | 50.0 % |") && card.includes("| odd \\| name | a b |"));
});

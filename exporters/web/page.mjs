// Scores images that are dropped here with the influence graph beside this page, in the browser.
import { influenceGraph } from "./graph.mjs";

const show = (id) => document.getElementById(id);
const say = (text) => { show("state").textContent = text; };

/** ONNX Runtime Web, which `./vendor` puts beside this page; with one thread, as more need headers that a plain server does not send. */
async function runtime() {
  const ort = await import("./onnxruntime/ort.wasm.min.mjs").catch(() => {
    throw new Error("onnxruntime/ is not beside this page: run exporters/web/vendor once");
  });
  ort.env.wasm.wasmPaths = new URL("onnxruntime/", import.meta.url).href;
  ort.env.wasm.numThreads = 1;
  return ort;
}

let ort, session, graph;
const results = [];

async function take(bytes, name) {
  graph = influenceGraph(bytes);
  session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  results.length = 0;
  render();
  show("images").disabled = false;
  say(`${name}: an influence graph in ${graph.form} form, ready.`);
}

/** The samples of an image as decoders give them, with no profile applied and no transparency: RGB, or ITU-R 601 luma. */
async function pixels(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const samples = new Uint8Array(width * height * graph.channels);
  for (let at = 0, to = 0; at < data.length; at += 4) {
    const [red, green, blue] = [data[at], data[at + 1], data[at + 2]];
    if (graph.channels === 3) {
      samples[to++] = red;
      samples[to++] = green;
      samples[to++] = blue;
    } else samples[to++] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
  return new ort.Tensor("uint8", samples, [1, height, width, graph.channels]);
}

/** Influence and belief of one image. */
async function score(file) {
  const wanted = ["influence", graph.class, graph.confidence].filter(Boolean);
  const outputs = await session.run({ [graph.input.name]: await pixels(file) }, wanted);
  const number = (name) => (name ? Number(outputs[name].data[0]) : null);
  const believed = number(graph.class);
  const belief = believed === null ? "" : graph.classes[believed] ?? String(believed);
  return { name: file.name, file, influence: number("influence"), belief, confidence: number(graph.confidence) };
}

async function add(files) {
  if (!session) return;
  const failed = [];
  for (const [place, file] of [...files].entries()) {
    say(`Scoring ${place + 1} of ${files.length} …`);
    try {
      results.push(await score(file));
    } catch (error) {
      failed.push(`${file.name}: ${error.message}`);
    }
  }
  results.sort((a, b) => a.influence - b.influence);
  render();
  say(failed.length ? `Not scored: ${failed.join("; ")}` : "Done: the most useful image first.");
}

const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;

function render() {
  const list = show("results");
  for (const image of list.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  list.replaceChildren(...results.map(({ name, file, influence, belief, confidence }) => {
    const item = document.createElement("li");
    const image = Object.assign(new Image(), { src: URL.createObjectURL(file), alt: name });
    const sure = confidence === null ? "" : ` (${(100 * confidence).toFixed(0)} %)`;
    const lines = [`influence ${influence.toPrecision(4)}`, belief + sure, name].filter(Boolean).map((text) =>
      Object.assign(document.createElement("div"), { textContent: text }));
    lines.at(-1).className = "id";
    Object.assign(item.dataset, { name, influence });
    item.append(image, ...lines);
    return item;
  }));
  show("count").textContent = results.length ? `${results.length} images` : "";
  const lines = results.map(({ name, influence, belief, confidence }) =>
    [quoted(name), influence, quoted(belief), confidence ?? ""].join(","));
  const link = show("list");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([["path,influence,believed,confidence", ...lines, ""].join("\n")], { type: "text/csv" }));
  link.hidden = !results.length;
}

show("images").addEventListener("change", (event) => add(event.target.files));
show("graph").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (file) await take(new Uint8Array(await file.arrayBuffer()), file.name).catch((error) => say(error.message));
});
const drop = show("drop");
addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
addEventListener("dragleave", () => drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  add(event.dataTransfer.files);
});

try {
  ort = await runtime();
  const found = await fetch("influence.onnx");
  if (found.ok) await take(new Uint8Array(await found.arrayBuffer()), "influence.onnx");
  else say("No influence.onnx lies beside this page: choose an influence graph.");
} catch (error) {
  say(error.message);
}

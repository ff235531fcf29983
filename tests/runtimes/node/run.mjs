// `node run.mjs PACKAGE GRAPH IMAGES N,C,H,W`: the influences of images, by onnxruntime-node or onnxruntime-web (WebAssembly), as
// little-endian float32 on stdout.
import { readFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";

const [, , name, graph, images, shape] = process.argv;
// Of the environment of its own, where this is called.
const ort = await import(createRequire(`${process.cwd()}/`).resolve(name)).then((module) => module.default ?? module);
if (name === "onnxruntime-web") ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(graph)), {
  executionProviders: [name === "onnxruntime-web" ? "wasm" : "cpu"],
});
const bytes = readFileSync(images);
const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const feeds = { [session.inputNames[0]]: new ort.Tensor("float32", values, shape.split(",").map(Number)) };
const { influence } = await session.run(feeds, ["influence"]);
writeSync(1, Buffer.from(Float32Array.from(influence.data).buffer));

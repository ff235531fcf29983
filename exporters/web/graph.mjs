// What an influence graph says of itself. The runtime does not show a model's metadata, so the file is read: a model's message is
// fields of a number, a kind and a value, of which the metadata (field 14) and the graph's inputs and outputs are wanted.

/** The fields of a message: [number, value], numbers for kinds that are not bytes. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("the file is cut short");
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new Error("the file is no model");
  };
  while (at < bytes.length) {
    const key = varint();
    const [number, kind] = [Math.floor(key / 8), key % 8];
    if (kind === 0) yield [number, varint()];
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = varint();
      if (at + length > bytes.length) throw new Error("the file is cut short");
      yield [number, bytes.subarray(at, at + length)];
      at += length;
    } else throw new Error("the file is no model");
  }
}

const text = (bytes) => new TextDecoder().decode(bytes);
const of = (bytes, wanted) => [...fields(bytes)].filter(([number]) => number === wanted).map(([, value]) => value);

/** Name, element type and dims (`null` where any) of an input or output. */
function described(value) {
  const tensor = of(of(value, 2)[0] ?? new Uint8Array(), 1)[0] ?? new Uint8Array();
  const dims = of(of(tensor, 2)[0] ?? new Uint8Array(), 1).map((dim) => of(dim, 1)[0] ?? null);
  return { name: text(of(value, 1)[0]), type: of(tensor, 1)[0], dims };
}

/** Metadata, inputs and outputs of the model in a file. */
export function read(file) {
  const metadata = {};
  for (const entry of of(file, 14)) metadata[text(of(entry, 1)[0])] = text(of(entry, 2)[0] ?? new Uint8Array());
  const graph = of(file, 7)[0];
  if (!graph) throw new Error("the file is no model");
  return { metadata, inputs: of(graph, 11).map(described), outputs: of(graph, 12).map(described) };
}

const UINT8 = 2;

/** What is needed to score with a graph; an error in words where it does not do. */
export function influenceGraph(file) {
  const { metadata, inputs, outputs } = read(file);
  if (!metadata["isal.influence.form"]) throw new Error("this is no influence graph: `isal export influence` writes one");
  const [input, ...more] = inputs;
  if (more.length || input?.type !== UINT8 || input.dims.length !== 4)
    throw new Error("this graph takes images that are preprocessed already: export it with `--with-preprocessing`");
  const channels = input.dims[3];
  if (channels !== 1 && channels !== 3) throw new Error(`this graph takes images of ${channels} channels`);
  const classes = JSON.parse(metadata["isal.influence.classes"] ?? "[]");
  const belief = (name) => outputs.map((output) => output.name).find((found) => found === `belief.${name}`);
  return { form: metadata["isal.influence.form"], input, channels, classes, class: belief("pseudo_label"), confidence: belief("confidence") };
}

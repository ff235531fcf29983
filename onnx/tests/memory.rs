//! What a hostile file makes the reader allocate, as the system counts it. One test, so that nothing else
//! allocates beside it.

mod messages;

use isal_onnx::{Limits, Model, ReadOptions};
use messages::*;
use onnx_protobuf::*;

/// The most memory this process has held so far, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).expect("kB") * 1024
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut n = content.len();
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn small_files_cannot_take_much_memory() {
    const MIB: usize = 1 << 20;
    let limit = 64 * MIB;
    let options =
        ReadOptions { limits: Limits { decoded_bytes: limit as u64, ..Limits::default() }, ..ReadOptions::default() };
    let opset = field(8, &[0x10, 17]);
    let file = |graph: Vec<u8>| [field(7, &graph), opset.clone()].concat();
    let repeat = |piece: &[u8], bytes: usize| piece.repeat(bytes / piece.len());
    let attribute_of_nothing = field(1, &repeat(&field(5, &[]), 2 * MIB));
    let dims = TensorProto { name: "w".to_owned(), data_type: 1, dims: vec![1 << 50], ..Default::default() };
    let dims = model(GraphProto { initializer: vec![dims], ..identity() }).write_to_bytes().expect("writes");
    let unknown: Vec<u8> = (20u32..400_000)
        .flat_map(|n| {
            let tag = n << 3;
            [tag as u8 | 0x80, (tag >> 7) as u8 | 0x80, (tag >> 14) as u8 & 0x7f, 1]
        })
        .collect();
    let cases: [(&str, Vec<u8>); 9] = [
        ("nodes of nothing", file(repeat(&field(1, &[]), 4 * MIB))),
        ("attributes of nothing", file(attribute_of_nothing)),
        ("tensors of nothing", file(repeat(&field(5, &[]), 4 * MIB))),
        ("values of nothing", file(repeat(&field(11, &[]), 4 * MIB))),
        ("names of nothing", file(field(1, &repeat(&field(1, &[]), 4 * MIB)))),
        ("packed integers", file(field(5, &field(7, &vec![1; 16 * MIB])))),
        ("dims", file(field(5, &field(1, &vec![1; 16 * MIB])))),
        ("a huge tensor without data", dims),
        ("unknown fields", file(unknown)),
    ];
    let before = peak();
    for (what, bytes) in cases {
        assert!(Model::from_bytes_with(&bytes, None, &options).is_err(), "{what}");
        let grown = peak() - before;
        assert!(grown < 8 * MIB, "{what}: {} bytes made the reader take {grown}", bytes.len());
    }
    // What is let in stays near the limit that it was measured against.
    let busy: Vec<NodeProto> =
        (0..20_000).map(|i| node("Neg", &[&format!("v{i}")], &[&format!("v{}", i + 1)])).collect();
    let graph =
        GraphProto { input: vec![value("v0")], output: vec![value("v20000")], node: busy, ..Default::default() };
    let bytes = model(graph).write_to_bytes().expect("writes");
    let before = peak();
    let read = Model::from_bytes_with(&bytes, None, &options).expect("within the limit");
    assert_eq!(read.graph.nodes.len(), 20_000);
    let grown = peak() - before;
    assert!(grown < 2 * limit, "20,000 nodes took {grown} bytes");
}

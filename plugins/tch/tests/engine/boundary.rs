//! Calls across the C ABI that a careless or hostile host could make: each is answered with a status and a message,
//! and the plugin goes on working afterwards.

use super::small::*;
use isal_plugin_abi::*;
use isal_plugin_tch::isal_plugin_table;
use std::ptr::{null, null_mut};

fn table() -> &'static Table {
    // SAFETY: the entry gives a table that lives as long as the process.
    unsafe { &*isal_plugin_table() }
}

/// Runs a call and gives its status and message.
fn answer(call: impl FnOnce(*mut Message) -> Status) -> (Status, String) {
    let mut buffer = [0u8; 4096];
    let mut message = Message { data: buffer.as_mut_ptr(), capacity: buffer.len(), len: usize::MAX };
    let status = call(&raw mut message);
    assert!(message.len <= buffer.len(), "the length of the message is set by every call");
    (status, std::str::from_utf8(&buffer[..message.len]).expect("UTF-8").to_owned())
}

/// A call that has to fail with `status` and a message that has `part` in it.
fn refused(call: impl FnOnce(*mut Message) -> Status, status: Status, part: &str) {
    let (found, message) = answer(call);
    assert_eq!(found, status, "{message}");
    assert!(message.contains(part), "expected `{part}` in `{message}`");
}

fn done(call: impl FnOnce(*mut Message) -> Status) {
    let (status, message) = answer(call);
    assert_eq!((status, message.as_str()), (Status::OK, ""));
}

/// What a load reads, kept alive.
struct Request {
    bytes: Vec<u8>,
    names: Vec<Bytes>,
    loss: Vec<u8>,
    bindings: Vec<Binding>,
    load: Load,
}

fn request(bytes: Vec<u8>, names: &[&'static str]) -> Request {
    let names: Vec<_> = names.iter().map(|n| Bytes::from(*n)).collect();
    let loss = single_label("logits", CLASSES).graph.to_bytes().expect("the bytes of a file");
    let bindings = vec![Binding { input: Bytes::from("outputs"), value: Bytes::from("logits") }];
    let load = Load {
        model: Bytes::new(&bytes),
        folder: Bytes::EMPTY,
        parameters: names.as_ptr(),
        parameter_count: names.len(),
        loss: Bytes::new(&loss),
        bindings: bindings.as_ptr(),
        binding_count: bindings.len(),
        device: Bytes::from("cpu"),
        kind: ElementKind::F64,
        threads: 1,
    };
    Request { bytes, names, loss, bindings, load }
}

fn good() -> Request {
    request(model().to_bytes().expect("the bytes of a file"), &SCOPE)
}

fn load(request: &Request, out: &mut Model, message: *mut Message) -> Status {
    assert!(!request.bytes.is_empty() && !request.names.is_empty() && !request.loss.is_empty());
    assert_eq!(request.bindings.len(), 1);
    // SAFETY: the request keeps what its load points to.
    unsafe { (table().load)(&raw const request.load, out, message) }
}

fn loaded() -> Model {
    let (request, mut model) = (good(), Model(0));
    done(|m| load(&request, &mut model, m));
    assert_ne!(model, Model(0));
    model
}

fn array<'a>(dims: &'a [usize], entries: &'a [f64]) -> Array {
    Array::new(ElementKind::F64, dims, bytemuck::cast_slice(entries))
}

/// An array as a batch has it.
fn input(name: &'static str, array: Array) -> NamedArray {
    NamedArray { name: Bytes::from(name), array, role: Role::INPUT, reserved: 0 }
}

const DIMS: [usize; 4] = [IMAGES, IMAGE[0], IMAGE[1], IMAGE[2]];

#[test]
fn description_names_libtorch_the_cpu_and_the_operators() {
    let mut out = null();
    // SAFETY: `out` and the message are valid.
    done(|m| unsafe { (table().describe)(&raw mut out, m) });
    // SAFETY: a description that lives as long as the process.
    let (description, devices, ops) = unsafe {
        let d: &Description = &*out;
        (d, texts(d.devices, d.device_count).expect("text"), texts(d.ops, d.op_count).expect("text"))
    };
    // SAFETY: as above.
    let backend = unsafe { description.backend.as_str() }.expect("text");
    assert!(backend.starts_with("libtorch 2."), "{backend}");
    assert_eq!(devices[0], "cpu");
    assert!(ops.is_sorted() && ops.contains(&"Conv") && ops.contains(&"BatchNormalization"), "{ops:?}");
    assert!(description.threads >= 1);
}

#[test]
fn a_model_can_be_described_run_and_freed_once() {
    let model = loaded();
    let mut info = null();
    // SAFETY: `info` and the message are valid.
    done(|m| unsafe { (table().model_info)(model, &raw mut info, m) });
    // SAFETY: info that lives until the model is freed.
    let (dimension, dims, parameters) = unsafe {
        let info: &ModelInfo = &*info;
        let parameters = slice(info.parameters, info.parameter_count).expect("parameters");
        let names: Vec<_> = parameters.iter().map(|p| p.name.as_str().expect("text").to_owned()).collect();
        (info.dimension, slice(info.input.dims, info.input.rank).expect("dims").to_vec(), names)
    };
    assert_eq!((dimension, dims, parameters), (theta().len(), vec![-1, 2, 6, 6], SCOPE.map(str::to_owned).to_vec()));

    let pixels = entries(&images());
    let batch = input("images", array(&DIMS, &pixels));
    let mut out = Arrays(0);
    // SAFETY: `batch` views pixels that outlive the call.
    done(|m| unsafe { (table().forward)(model, &raw const batch, 1, &raw mut out, m) });
    let mut count = 0;
    // SAFETY: `count` and the message are valid.
    done(|m| unsafe { (table().arrays_count)(out, &raw mut count, m) });
    assert_eq!(count, 1);
    let mut named = std::mem::MaybeUninit::<NamedArray>::uninit();
    // SAFETY: `named` and the message are valid.
    done(|m| unsafe { (table().arrays_get)(out, 0, named.as_mut_ptr(), m) });
    // SAFETY: written by the call; what it points to lives until the list is freed.
    let (name, dims, bytes) = unsafe {
        let named = named.assume_init();
        (named.name.as_str(), named.array.dims(), named.array.bytes())
    };
    assert_eq!((name, dims), (Some("logits"), Some(&[IMAGES, CLASSES][..])));
    let truth = entries(&engine(tch::Kind::Double).forward(&unlabelled(images())).expect("a forward pass")[0].1);
    assert_eq!(bytemuck::pod_collect_to_vec::<u8, f64>(bytes.expect("elements")), truth);
    // SAFETY: as above.
    refused(|m| unsafe { (table().arrays_get)(out, 1, named.as_mut_ptr(), m) }, Status::ARGUMENT, "less than 1");

    // SAFETY: handles are plain numbers.
    unsafe {
        done(|m| (table().arrays_free)(out, m));
        refused(|m| (table().arrays_free)(out, m), Status::HANDLE, "no list of arrays");
        done(|m| (table().model_free)(model, m));
        refused(|m| (table().model_free)(model, m), Status::HANDLE, "no model");
        refused(|m| (table().forward)(model, &raw const batch, 1, &raw mut out, m), Status::HANDLE, "no model");
    }
}

#[test]
fn null_pointers_and_foreign_handles_are_refused_everywhere() {
    let model = loaded();
    let (mut vector, mut loss, mut arrays, mut number) = (Vector(0), 0.0, Arrays(0), 0.0);
    let pixels = entries(&images());
    let weights = entries(&targets_tensor());
    let both = [input("images", array(&DIMS, &pixels)), input("weights", array(&[IMAGES, CLASSES], &weights))];
    let batch = both.as_ptr();
    // SAFETY: every pointer is valid or null, which is what is tested.
    unsafe {
        let t = table();
        done(|m| (t.vector_zeros)(model, &raw mut vector, m));
        let null_pointer = |call: &dyn Fn(*mut Message) -> Status| refused(call, Status::ARGUMENT, "null pointer");
        null_pointer(&|m| (t.describe)(null_mut(), m));
        null_pointer(&|m| (t.load)(null(), null_mut(), m));
        null_pointer(&|m| (t.model_info)(model, null_mut(), m));
        null_pointer(&|m| (t.forward)(model, batch, 1, null_mut(), m));
        null_pointer(&|m| (t.losses)(model, batch, 2, null_mut(), m));
        null_pointer(&|m| (t.gradient)(model, batch, 2, null_mut(), null_mut(), m));
        null_pointer(&|m| (t.curvature_product)(model, Curvature::HESSIAN, batch, 2, vector, null_mut(), m));
        null_pointer(&|m| (t.jvp)(model, batch, 1, vector, null_mut(), m));
        null_pointer(&|m| (t.vector_zeros)(model, null_mut(), m));
        null_pointer(&|m| (t.vector_copy)(vector, null_mut(), m));
        null_pointer(&|m| (t.vector_dot)(vector, vector, null_mut(), m));
        null_pointer(&|m| (t.vector_upload)(model, null(), null_mut(), m));
        null_pointer(&|m| (t.train_step)(model, null(), batch, 2, null_mut(), null_mut(), m));
        null_pointer(&|m| (t.state_get)(model, null_mut(), m));
        null_pointer(&|m| (t.state_set)(model, null(), 3, m));
        null_pointer(&|m| (t.arrays_count)(Arrays(1), null_mut(), m));
        null_pointer(&|m| (t.arrays_get)(Arrays(1), 0, null_mut(), m));
        refused(|m| (t.forward)(model, null(), 1, &raw mut arrays, m), Status::ARGUMENT, "batch: a null pointer");
        refused(|m| (t.forward)(model, null(), 0, &raw mut arrays, m), Status::ARGUMENT, "it lacks `images`");
        let mut gradient = |count, m| (t.gradient)(model, batch, count, &raw mut loss, &raw mut vector, m);
        refused(|m| gradient(1, m), Status::ARGUMENT, "it lacks `weights`");
        let nameless = NamedArray { name: Bytes { data: null(), len: 3 }, ..both[0] };
        refused(
            |m| (t.forward)(model, &raw const nameless, 1, &raw mut arrays, m),
            Status::ARGUMENT,
            "a name that is null",
        );
        refused(
            |m| (t.vector_download)(vector, ElementKind::F32, null_mut(), 4 * theta().len(), m),
            Status::ARGUMENT,
            "buffer",
        );

        let (no_model, no_vector) = (Model(vector.0), Vector(model.0));
        let foreign = |call: &mut dyn FnMut(*mut Message) -> Status| refused(call, Status::HANDLE, "with the handle");
        foreign(&mut |m| (t.model_free)(no_model, m));
        foreign(&mut |m| (t.forward)(no_model, batch, 1, &raw mut arrays, m));
        foreign(&mut |m| (t.vector_zeros)(Model(0), &raw mut vector, m));
        foreign(&mut |m| (t.jvp)(model, batch, 1, no_vector, &raw mut arrays, m));
        foreign(&mut |m| (t.vector_dot)(vector, no_vector, &raw mut number, m));
        foreign(&mut |m| (t.vector_axpy)(1.0, vector, no_vector, m));
        foreign(&mut |m| (t.vector_scale)(2.0, Vector(u64::MAX), m));
        foreign(&mut |m| (t.vector_free)(Vector(0), m));
        foreign(&mut |m| (t.arrays_free)(Arrays(model.0), m));

        // A message is not asked for: the status alone answers.
        assert_eq!((t.vector_free)(Vector(0), null_mut()), Status::HANDLE);
        done(|m| (t.vector_free)(vector, m));
        foreign(&mut |m| (t.vector_scale)(2.0, vector, m));
        done(|m| (t.model_free)(model, m));
    }
}

struct Fixed(Binding);

// SAFETY: the text that it points to is the program's own.
unsafe impl Sync for Fixed {}

static UNKNOWN_VALUE: Fixed = fixed("outputs", "nothing");
static UNKNOWN_INPUT: Fixed = fixed("scores", "logits");

const fn fixed(input: &'static str, value: &'static str) -> Fixed {
    Fixed(Binding {
        input: Bytes { data: input.as_ptr(), len: input.len() },
        value: Bytes { data: value.as_ptr(), len: value.len() },
    })
}

#[test]
fn bad_models_and_options_are_refused_with_their_reason() {
    let bytes = || model().to_bytes().expect("the bytes of a file");
    let mut truncated = bytes();
    truncated.truncate(truncated.len() / 2);
    let with = |change: fn(&mut Load)| {
        let mut request = good();
        change(&mut request.load);
        request
    };
    let unsupported = {
        let mut model = model();
        model.opsets.insert("custom".to_owned(), 1);
        for (i, node) in model.graph.nodes.iter_mut().filter(|n| n.op_type == "Relu").enumerate() {
            node.op_type = ["Mystery", "Riddle"][i].to_owned();
            node.domain = ["", "custom"][i].to_owned();
        }
        request(model.to_bytes().expect("the bytes of a file"), &SCOPE)
    };
    let not_finite = {
        let mut model = model();
        let poisoned = isal_onnx::Tensor::new([3], &[1.0, f64::NAN, 0.0]);
        model.graph.initializers.insert("conv.bias".to_owned(), poisoned);
        request(model.to_bytes().expect("the bytes of a file"), &SCOPE)
    };
    let two_inputs = {
        let mut model = model();
        let mut second = model.graph.inputs[0].clone();
        second.name = "more".to_owned();
        model.graph.inputs.push(second);
        request(model.to_bytes().expect("the bytes of a file"), &SCOPE)
    };
    let cases = [
        (request(vec![0xff; 64], &SCOPE), Status::MODEL, "not an ONNX model"),
        (request(truncated, &SCOPE), Status::MODEL, "not an ONNX model"),
        (with(|l| l.model = Bytes { data: null(), len: 9 }), Status::ARGUMENT, "model: a null pointer"),
        (
            unsupported,
            Status::UNSUPPORTED,
            "2 of 6 operators have no forward: `Mystery` (at `relu1`), `custom::Riddle` (at `relu2`)",
        ),
        (not_finite, Status::NOT_FINITE, "`conv.bias`"),
        (two_inputs, Status::MODEL, "expected one input, found 2: `images`, `more`"),
        (request(bytes(), &["fc9.weight"]), Status::ARGUMENT, "`fc9.weight` is no initializer"),
        (request(bytes(), &["fc1.bias", "fc1.bias"]), Status::ARGUMENT, "`fc1.bias` is there twice"),
        (request(bytes(), &["bn.mean"]), Status::ARGUMENT, "`bn.mean` is a running statistic of node `bn`"),
        (with(|l| l.parameter_count = 0), Status::ARGUMENT, "none are in scope"),
        (with(|l| l.parameters = null()), Status::ARGUMENT, "parameters: a null pointer"),
        (with(|l| l.device = Bytes::from("tpu")), Status::ARGUMENT, "expected `cpu`, `cuda` or `cuda:N`, found `tpu`"),
        (with(|l| l.device = Bytes::from("cuda:4096")), Status::DEVICE, "`cuda:4096` is not there"),
        (with(|l| l.device = Bytes { data: null(), len: 4 }), Status::ARGUMENT, "device"),
        (with(|l| l.kind = ElementKind(10)), Status::SHAPE, "found 10"),
        (with(|l| l.loss = Bytes::from("no graph")), Status::MODEL, "not an ONNX model"),
        (with(|l| l.loss = Bytes { data: null(), len: 4 }), Status::ARGUMENT, "loss: a null pointer"),
        (with(|l| l.bindings = null()), Status::ARGUMENT, "bindings: a null pointer"),
        (with(|l| l.binding_count = 0), Status::MODEL, "`loss` depends on none of the values of the model"),
        (with(|l| l.bindings = &raw const UNKNOWN_VALUE.0), Status::ARGUMENT, "no value `nothing`"),
        (
            with(|l| l.bindings = &raw const UNKNOWN_INPUT.0),
            Status::ARGUMENT,
            "the loss has no input `scores`; its inputs are `outputs`, `weights`",
        ),
    ];
    for (request, status, part) in cases {
        let mut model = Model(0);
        refused(|m| load(&request, &mut model, m), status, part);
        assert_eq!(model, Model(0), "{part}");
    }
}

#[test]
fn bad_batches_are_refused_with_what_was_expected() {
    let model = loaded();
    let (mut vector, mut loss, mut arrays) = (Vector(0), 0.0, Arrays(0));
    let pixels = entries(&images());
    let weights = entries(&targets_tensor());
    let poisoned: Vec<f64> = pixels.iter().enumerate().map(|(i, p)| if i == 40 { f64::INFINITY } else { *p }).collect();
    let huge = [usize::MAX, 2, 6, 6];
    let mut short = array(&DIMS, &pixels);
    short.len -= 8;
    let integers = Array { kind: ElementKind::I64, ..array(&DIMS, &pixels) };
    let no_dims = Array { dims: null(), ..array(&DIMS, &pixels) };
    let deep = vec![1usize; 65];
    let cases = [
        (array(&[IMAGES, 72], &pixels), Status::SHAPE, "input `images`: expected shape [N, 2, 6, 6], found [5, 72]"),
        (array(&[10, 1, 6, 6], &pixels), Status::SHAPE, "expected shape [N, 2, 6, 6], found [10, 1, 6, 6]"),
        (array(&[0, 2, 6, 6], &[]), Status::SHAPE, "at least one sample"),
        (array(&huge, &pixels), Status::ARGUMENT, "overflow"),
        (short, Status::ARGUMENT, "take 2880 bytes, found 2872"),
        (integers, Status::SHAPE, "expected element kind 1 (float32) or 11 (float64), found Int64"),
        (no_dims, Status::ARGUMENT, "dims are a null pointer"),
        (array(&deep, &[1.0]), Status::ARGUMENT, "65 axes"),
        (array(&DIMS, &poisoned), Status::NOT_FINITE, "the input"),
    ];
    let targets = input("weights", array(&[IMAGES, CLASSES], &weights));
    for (images, status, part) in cases {
        let batch = [input("images", images), targets];
        // SAFETY: the arrays view elements that outlive the calls, or are what is tested.
        unsafe {
            refused(|m| (table().forward)(model, batch.as_ptr(), 1, &raw mut arrays, m), status, part);
            let gradient = table().gradient;
            refused(|m| gradient(model, batch.as_ptr(), 2, &raw mut loss, &raw mut vector, m), status, part);
        }
    }
    let images = input("images", array(&DIMS, &pixels));
    let nan = vec![f64::NAN; weights.len()];
    for (annotation, status, part) in [
        (
            input("weights", array(&[IMAGES, 5], &[0.1; 25])),
            Status::SHAPE,
            "annotation `weights`: expected shape [N, 4], found [5, 5]",
        ),
        (
            input("weights", array(&[20], &weights)),
            Status::SHAPE,
            "annotation `weights`: expected shape [N, 4], found [20]",
        ),
        (
            input("weights", array(&[4, 4], &weights[..16])),
            Status::SHAPE,
            "annotation `weights`: expected shape 5 samples",
        ),
        (input("weights", array(&[IMAGES, CLASSES], &nan)), Status::NOT_FINITE, "annotation `weights`"),
        (
            input("labels", array(&[IMAGES, CLASSES], &weights)),
            Status::ARGUMENT,
            "`labels` is taken by nothing; model and loss take",
        ),
    ] {
        let batch = [images, annotation];
        // SAFETY: as above.
        unsafe {
            let gradient = table().gradient;
            refused(|m| gradient(model, batch.as_ptr(), 2, &raw mut loss, &raw mut vector, m), status, part);
        }
    }
    // SAFETY: as above.
    unsafe {
        let entries = array(&[3], &[1.0, 2.0, 3.0]);
        refused(|m| (table().vector_upload)(model, &raw const entries, &raw mut vector, m), Status::SHAPE, "found [3]");
        done(|m| (table().vector_zeros)(model, &raw mut vector, m));
        let both = [images, targets];
        let batch = both.as_ptr();
        let product = table().curvature_product;
        let mut out = Vector(0);
        refused(
            |m| product(model, Curvature(9), batch, 2, vector, &raw mut out, m),
            Status::ARGUMENT,
            "curvature: expected 0 (Hessian), 1 (Gauss-Newton) or 2 (empirical Fisher), found 9",
        );
        let mut step = TrainStep {
            learning_rate: f64::NAN,
            momentum: 0.9,
            weight_decay: 0.0,
            clip_norm: 0.0,
            bias_rate: 1.0,
            seed: 0,
            decay: Decay::MATRICES,
            nesterov: 0,
        };
        let train = table().train_step;
        let tried = |step: &TrainStep, part: &str| {
            let mut loss = 0.0;
            refused(|m| train(model, step, batch, 2, &raw mut loss, null_mut(), m), Status::ARGUMENT, part);
        };
        tried(&step, "learning rate");
        (step.learning_rate, step.momentum) = (0.1, 1.0);
        tried(&step, "momentum");
        (step.momentum, step.decay) = (0.5, Decay(5));
        tried(&step, "decay");
        (step.decay, step.clip_norm) = (Decay::ALL, -1.0);
        tried(&step, "clip norm");
        (step.clip_norm, step.bias_rate) = (1.0, f64::INFINITY);
        tried(&step, "bias rate");
        // After all that, the model still answers.
        done(|m| (table().gradient)(model, batch, 2, &raw mut loss, &raw mut vector, m));
        assert!(loss.is_finite() && loss > 0.0);
        done(|m| (table().model_free)(model, m));
    }
}

/// A message longer than the caller's buffer is cut at a character and its whole length told.
#[test]
fn a_short_buffer_gets_the_start_of_the_message() {
    let mut buffer = [b'#'; 12];
    let mut message = Message { data: buffer.as_mut_ptr(), capacity: 8, len: 0 };
    // SAFETY: the message is valid.
    let status = unsafe { (table().vector_free)(Vector(0), &raw mut message) };
    assert_eq!(status, Status::HANDLE);
    assert_eq!(&buffer, b"there is####");
    assert_eq!(message.len, "there is no vector with the handle 0".len());
}

//! Files of boxes as COCO, Pascal VOC and YOLO have them.

use std::path::Path;

use isal::data::{BoxProblem, DataError, Dataset, Malformed, OpenOptions};
use serde_json::{Value, json};

fn with_fields() -> OpenOptions {
    OpenOptions { fields: true, ..OpenOptions::default() }
}

fn open(path: &Path) -> Dataset {
    Dataset::open(path, &with_fields()).unwrap()
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// An image of this width and height.
fn write_image(path: &Path, width: u32, height: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(width, height, image::Rgb([9, 99, 199])).save(path).unwrap();
}

fn fields(data: &Dataset, index: usize) -> Value {
    data.fields(index).map_or(Value::Null, Value::Object)
}

fn ids(data: &Dataset) -> Vec<String> {
    (0..data.len()).map(|index| data.id(index)).collect()
}

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

fn problem(path: &Path, options: &OpenOptions) -> BoxProblem {
    match Dataset::open(path, options).unwrap_err() {
        DataError::Boxes { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

/// As COCO's files are, down to the outlines and the gap between categories; annotations stand before their images here.
const COCO: &str = r#"{"info": {"description": "COCO 2017 Dataset", "year": 2017}, "licenses": [{"id": 4, "url": "http://x"}],
"annotations": [
 {"segmentation": [[239.97, 260.24, 222.04, 270.49]], "area": 2765.1486500000005, "iscrowd": 0, "image_id": 558840, "bbox": [199.84, 200.46, 77.71, 70.88], "category_id": 58, "id": 156},
 {"segmentation": {"counts": [272, 2, 4], "size": [240, 320]}, "area": 11.5, "iscrowd": 1, "image_id": 558840, "bbox": [0, 0.5, 30.25, 12], "category_id": 1, "id": 157},
 {"area": 1, "iscrowd": 0, "ignore": 1, "image_id": 7, "bbox": [1, 2, 3, 4], "category_id": 90, "id": 158},
 {"area": NaN, "iscrowd": 0, "image_id": 7, "bbox": [NaN, 2, 3, 4], "category_id": 90, "id": 159},
 {"area": 0, "iscrowd": 0, "image_id": 7, "bbox": [5, 5, 0, 4], "category_id": 90, "id": 160},
 {"area": 4, "iscrowd": 0, "image_id": 7, "bbox": [64, 5, 2, 2], "category_id": 90, "id": 161},
 {"area": 4, "iscrowd": 0, "image_id": 7, "bbox": [], "category_id": 90, "id": 162}],
"images": [
 {"license": 4, "file_name": "000000558840.jpg", "coco_url": "http://y", "height": 240, "width": 320, "id": 558840},
 {"file_name": "sub/empty.png", "height": 30, "width": 40, "id": 3},
 {"file_name": "7.png", "height": 48, "width": 64, "id": 7}],
"categories": [{"supercategory": "x", "id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 58, "name": "hot dog"}]}"#;

#[test]
fn coco_is_read_with_gaps_crowds_and_images_without_boxes() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("annotations/instances_val2017.json");
    write(&path, COCO);
    write_image(&root.path().join("val2017/7.png"), 64, 48);
    let data = open(&path);
    assert_eq!(ids(&data), ["000000558840.jpg", "sub/empty.png", "7.png"]);
    assert_eq!(data.classes(), names(&["person", "hot dog", "toothbrush"]));
    assert_eq!(data.path(2), Some(root.path().join("val2017/7.png")));
    assert_eq!(data.load(2).unwrap().width(), 64);
    assert_eq!(
        fields(&data, 0),
        json!({
            // 199.84 + 77.71 in doubles is 277.54999999999995.
            "boxes": [[199.84, 200.46, 277.55, 271.34], [0.0, 0.5, 30.25, 12.5]], "labels": [1, 0],
            "crowd": [false, true], "areas": [2765.1486500000005, 11.5], "width": 320, "height": 240,
        })
    );
    assert_eq!(fields(&data, 1), json!({"boxes": [], "labels": [], "width": 40, "height": 30}));
    assert_eq!(fields(&data, 2)["boxes"], json!([[1.0, 2.0, 4.0, 6.0]]));
    assert_eq!(fields(&data, 2)["ignore"], json!([true]));
    let dropped = data.dropped();
    let why: Vec<(&str, Malformed)> = dropped.first.iter().map(|one| (one.image.as_str(), one.why)).collect();
    use Malformed::{Empty, NotNumbers, Outside};
    assert_eq!(why, [("7.png", NotNumbers), ("7.png", Empty), ("7.png", Outside), ("7.png", NotNumbers)]);
    assert_eq!(dropped.lines(2).len(), 4, "{:?}", dropped.lines(2));
    let strict = OpenOptions { strict_boxes: true, ..with_fields() };
    assert!(matches!(problem(&path, &strict), BoxProblem::Malformed(first) if first.why == NotNumbers));
    // Without fields, the same images of which nothing is said to be a class.
    assert!(Dataset::open(&path, &OpenOptions::default()).unwrap().labels().iter().all(Option::is_none));
}

#[test]
fn classes_count_as_the_model_has_them() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("c.json");
    write(&path, COCO);
    let seen = open(&path).with_classes(&names(&["toothbrush", "dog", "hot dog", "person"])).unwrap();
    assert_eq!(fields(&seen, 0)["labels"], json!([2, 3]));
    assert_eq!(seen.marked(2).unwrap()[0].class, 0);
    let lacking = open(&path).with_classes(&names(&["person", "toothbrush"]));
    assert!(matches!(lacking, Err(DataError::UnknownClasses { unknown, .. }) if unknown == ["hot dog"]));
}

#[test]
fn coco_files_of_something_else_are_named() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("c.json");
    let with = |from: &str, to: &str| {
        assert!(COCO.contains(from), "{from}");
        write(&path, COCO.replacen(from, to, 1));
        problem(&path, &with_fields()).to_string()
    };
    for (from, to, part) in [
        ("\"id\": 1, \"name\"", "\"id\": 0, \"name\"", "`person` has the id 0"),
        ("\"image_id\": 558840", "\"image_id\": 5", "annotation 1 is of image 5, which is not among the 3 `images`"),
        (
            "\"category_id\": 58",
            "\"category_id\": 59",
            "annotation 1 has the class 59, expected one of `1`, `58`, `90`",
        ),
        ("\"bbox\": [199", "\"caption\": [199", "annotation 1 has no `bbox`"),
        ("\"images\":", "\"pictures\":", "no `images`"),
        ("\"name\": \"person\"", "\"name\": \"hot dog\"", "the category `hot dog` occurs twice"),
        ("\"id\": 3}", "\"id\": 7}", "the image id `7` occurs twice"),
        ("sub/empty.png", "../empty.png", "`../empty.png` leaves the folder"),
        ("{\"info\"", "[{\"info\"", "not the JSON of a COCO file"),
        ("\"year\": 2017", "\"year\": ", "line 1 column"),
    ] {
        let said = with(from, to);
        assert!(said.contains(part), "{said}");
    }
    let fractions = r#"{"images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 64}], "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0.25, 0.5, 0.25, 0.25]}]}"#;
    write(&path, fractions);
    assert_eq!(problem(&path, &with_fields()), BoxProblem::Fractions { largest: 0.75 });
    write(
        &path,
        COCO.replacen("\"id\": 1, \"name\"", "\"id\": 0, \"name\"", 1)
            .replace("\"category_id\": 1,", "\"category_id\": 0,"),
    );
    let lenient = OpenOptions { category_zero: true, ..with_fields() };
    assert_eq!(Dataset::open(&path, &lenient).unwrap().classes(), names(&["person", "hot dog", "toothbrush"]));
}

#[test]
fn lists_of_coco_test_images_say_nothing_of_them() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("image_info_test2017.json");
    write(
        &path,
        r#"{"images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 64}], "categories": [{"id": 1, "name": "a"}]}"#,
    );
    assert_eq!((ids(&open(&path)), fields(&open(&path), 0)), (vec!["a.jpg".to_owned()], Value::Null));
}

/// As VOC 2012's files are: a person has parts with names and boxes of their own.
const VOC: &str = "<annotation>
\t<folder>VOC2012</folder>
\t<filename>2008_000008.jpg</filename>
\t<source><database>The VOC2008 Database</database></source>
\t<size>\n\t\t<width>500</width>\n\t\t<height>442</height>\n\t\t<depth>3</depth>\n\t</size>
\t<segmented>0</segmented>
\t<object>
\t\t<name>horse</name>\n\t\t<pose>Left</pose>\n\t\t<truncated>0</truncated>
\t\t<bndbox>\n\t\t\t<xmax>471</xmax>\n\t\t\t<xmin>53</xmin>\n\t\t\t<ymax>420</ymax>\n\t\t\t<ymin>87</ymin>\n\t\t</bndbox>
\t\t<difficult>0</difficult>
\t</object>
\t<object>
\t\t<name>cat &amp; dog</name><difficult>1</difficult>
\t\t<bndbox><xmin>1</xmin><ymin>1.5</ymin><xmax>500</xmax><ymax>442</ymax></bndbox>
\t\t<part><name>head</name><bndbox><xmin>169</xmin><ymin>104</ymin><xmax>209</xmax><ymax>146</ymax></bndbox></part>
\t</object>
</annotation>";

#[test]
fn voc_is_read_by_its_lists_with_difficult_objects() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join("VOC2012").join(name);
    write(&at("Annotations/2008_000008.xml"), VOC);
    write(&at("Annotations/b.xml"), VOC.replace("horse", "aeroplane").replace(">53<", ">480<"));
    write(&at("Annotations/c.xml"), "<annotation><size><width>4</width><height>3</height></size></annotation>");
    for image in ["2008_000008.jpg", "b.jpg", "c.png", "unannotated.jpg"] {
        write_image(&at("JPEGImages").join(image), 4, 3);
    }
    write(&at("ImageSets/Main/train.txt"), "2008_000008\nb\n");
    write(&at("ImageSets/Main/val.txt"), "c 1\nunannotated -1\n");
    write(&at("ImageSets/Main/horse_train.txt"), "b  -1\n");
    let part = |part: &str| open(&root.path().join(format!("VOC2012#{part}")));
    let train = part("train");
    assert_eq!(
        (ids(&train), train.classes()),
        (names(&["2008_000008.jpg", "b.jpg"]), &names(&["aeroplane", "cat & dog", "horse"])[..])
    );
    assert_eq!(
        fields(&train, 0),
        json!({
            "boxes": [[52.0, 86.0, 471.0, 420.0], [0.0, 0.5, 500.0, 442.0]], "labels": [2, 1], "difficult": [false, true],
            "width": 500, "height": 442,
        })
    );
    assert_eq!(fields(&train, 1)["labels"], json!([1]), "a box whose right side is left of its left one");
    assert_eq!(train.dropped().first[0].to_string(), "`b.jpg`: the box [480, 87, 471, 420] is empty");
    let val = part("val");
    assert_eq!(ids(&val), ["c.png", "unannotated.jpg"]);
    assert_eq!((fields(&val, 0)["boxes"].clone(), fields(&val, 1)), (json!([]), Value::Null));
    // The folder that a download gives, and no part chosen.
    let whole = Dataset::open(root.path(), &with_fields());
    assert!(matches!(whole, Err(DataError::Part { parts, .. }) if parts == ["train", "val"]));
    // Files beside the images, as LabelImg writes them.
    let beside = root.path().join("beside");
    write_image(&beside.join("x.jpg"), 500, 442);
    write(&beside.join("x.xml"), VOC);
    assert_eq!(fields(&open(&beside), 0)["boxes"], fields(&train, 0)["boxes"]);
    for (text, part) in [
        (VOC.replace("<name>horse</name>", ""), "an `object` has no `name`"),
        (VOC.replace("<ymin>87</ymin>", ""), "an `object` has no `ymin`"),
        (VOC.replace("471", "wide"), "`wide` is no number"),
        (VOC.replace("annotation", "annotations"), "no element `annotation`"),
        (VOC.replace("</object>", ""), "byte"),
        ("<annotation>".to_owned(), "within an element"),
        (VOC.replace("&amp;", "&boom;"), "`&boom;` is not known"),
        ("<a>".repeat(100_000), "without end"),
    ] {
        write(&beside.join("x.xml"), &text);
        let said = problem(&beside, &with_fields()).to_string();
        assert!(said.contains(part), "{said}");
    }
    let fractions =
        VOC.replace(">471<", ">0.9<").replace(">53<", ">0.1<").replace(">420<", ">0.8<").replace(">87<", ">0.2<");
    write(
        &beside.join("x.xml"),
        fractions.replace(">1.5<", ">0.3<").replace(">500</xmax>", ">1</xmax>").replace(">442</ymax>", ">1</ymax>"),
    );
    assert_eq!(problem(&beside, &with_fields()), BoxProblem::Fractions { largest: 1.0 });
}

#[test]
fn yolo_is_read_by_its_description_or_its_folders() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for image in ["images/train/a.png", "images/train/sub/b.png", "images/val/c.png"] {
        write_image(&at(image), 200, 100);
    }
    write(&at("labels/train/a.txt"), "1 0.5 0.5 0.25 0.5\n0 0.1 0.2 0.1 0.1\n");
    write(&at("labels/val/c.txt"), "0 0.9 0.9 0.4 0.4\n1 0.5 0.5 0 0.1\n0 nan 0.5 0.1 0.1\n1 1.3 0.5 0.1 0.1\n");
    let yaml = "# comment\npath: ../datasets/coco8  # of another machine\ntrain: images/train\nval: ../images/val\ntest:\n\nnames:\n  0: person\n  1: 'no: 1'\ndownload: |\n  import x\n";
    write(&at("data.yaml"), yaml);
    let train = open(&root.path().join("data.yaml#train"));
    assert_eq!((ids(&train), train.classes()), (names(&["a.png", "sub/b.png"]), &names(&["person", "no: 1"])[..]));
    let expected = json!({
        "boxes": [[75.0, 25.0, 125.0, 75.0], [10.0, 15.0, 30.0, 25.0]], "labels": [1, 0], "width": 200, "height": 100,
    });
    assert_eq!(fields(&train, 0), expected);
    assert_eq!(fields(&train, 1), json!({"boxes": [], "labels": [], "width": 200, "height": 100}), "a background");
    // A folder that holds the description, and a box that leaves its image.
    let val = open(Path::new(&format!("{}#val", root.path().display())));
    assert_eq!(fields(&val, 0)["boxes"], json!([[140.0, 70.0, 220.0, 110.0]]));
    let why: Vec<Malformed> = val.dropped().first.iter().map(|one| one.why).collect();
    assert_eq!(why, [Malformed::Empty, Malformed::NotNumbers, Malformed::Outside]);
    write(
        &at("data.yaml"),
        yaml.replace("images/train", "train.txt").replace("  0: person\n  1: 'no: 1'\n", " [7, yes]\n"),
    );
    write(&at("train.txt"), "./images/train/a.png\n");
    let listed = open(&root.path().join("data.yaml#train"));
    assert_eq!((ids(&listed), fields(&listed, 0)), (names(&["images/train/a.png"]), expected.clone()));
    assert_eq!(listed.classes()[0], "7");
    for (names_of, part) in [
        ("names: [person]", "line 1 has the class 1, expected one of 0 to 0 (`person`)"),
        ("names: {0: a, 2: b}", "has no class 1"),
        ("names: [a, a]", "the class `a` occurs twice"),
        ("names: [", "not the YAML"),
    ] {
        write(&at("data.yaml"), format!("train: images/train\n{names_of}\n"));
        let said = problem(&root.path().join("data.yaml"), &with_fields()).to_string();
        assert!(said.contains(part), "{said}");
    }
    // Without a description: parts by folders, and classes by number.
    std::fs::remove_file(at("data.yaml")).unwrap();
    let train = open(Path::new(&format!("{}#train", root.path().display())));
    assert_eq!((fields(&train, 0), train.classes(), train.numbered()), (expected, &names(&["0", "1"])[..], true));
    // Images that nobody labelled are a pool.
    std::fs::remove_dir_all(at("labels")).unwrap();
    std::fs::create_dir(at("labels")).unwrap();
    assert_eq!(fields(&open(Path::new(&format!("{}#val", root.path().display()))), 0), Value::Null);
    write(&at("labels/val/c.txt"), "0 100 40 20 10\n");
    let pixels = problem(Path::new(&format!("{}#val", root.path().display())), &with_fields());
    assert_eq!(pixels, BoxProblem::Pixels { line: 1, found: 100.0 });
}

use isal::data::{BoxForm, ConvertError, MarkedBox, convert};

fn marked(data: &Dataset) -> Vec<(String, Vec<MarkedBox>)> {
    let stem = |id: String| id.rsplit_once('.').map(|(stem, _)| stem.to_owned()).unwrap();
    (0..data.len()).map(|index| (stem(data.id(index)), data.marked(index).unwrap())).collect()
}

/// Decimals of two and of six places, negative ones, sides of odd lengths.
#[test]
fn boxes_come_back_from_every_other_form() {
    let root = tempfile::tempdir().unwrap();
    let (mut images, mut boxes) = (Vec::new(), Vec::new());
    for (n, (width, height)) in [(640_u32, 427_u32), (333, 500), (1, 3), (1023, 769)].into_iter().enumerate() {
        write_image(&root.path().join(format!("{n}.png")), width, height);
        images.push(json!({"id": n, "file_name": format!("{n}.png"), "width": width, "height": height}));
        for m in 0..if n == 2 { 0 } else { 40 } {
            let part = |k: usize, of: u32, places: f64| {
                let fraction = ((7919 * (n + 1) + 104_729 * (m + 1) + 1_299_709 * k) % 10_007) as f64 / 10_007.0;
                (fraction * f64::from(of) * places).round() / places
            };
            let places = if m % 2 == 0 { 100.0 } else { 1e6 };
            let bbox = [
                part(1, width, places) - 1.0,
                part(2, height, places) - 0.5,
                part(3, width, places) + 1.5,
                part(4, height, places) + 1.0,
            ];
            boxes.push(json!({"id": boxes.len(), "image_id": n, "category_id": 1 + 3 * (m % 3), "bbox": bbox, "iscrowd": 0, "difficult": u8::from(m % 5 == 0)}));
        }
    }
    let categories =
        json!([{"id": 1, "name": "a & <b>"}, {"id": 4, "name": "no: 'c'"}, {"id": 7, "name": "\u{e9}\"d\""}]);
    write(
        &root.path().join("own.json"),
        json!({"images": images, "annotations": boxes, "categories": categories}).to_string(),
    );
    let own = open(&root.path().join("own.json"));
    assert_eq!(own.dropped().boxes, 0);
    let form = |from: &Dataset, form: BoxForm, name: &str| {
        let out = root.path().join(name);
        let converted = convert(from, form, &out).unwrap();
        assert_eq!((converted.images, converted.boxes, converted.left_out), (4, 120, 0));
        assert!(matches!(convert(from, form, &out), Err(ConvertError::Exists { .. })));
        let place = match form {
            BoxForm::Coco => out.join("annotations.json"),
            BoxForm::Voc => Path::new(&format!("{}#all", out.display())).to_path_buf(),
            BoxForm::Yolo => Path::new(&format!("{}#train", out.display())).to_path_buf(),
        };
        let found = open(&place);
        assert_eq!(found.load(1).unwrap().height(), 500, "the images are there");
        found
    };
    let plain = |boxes: Vec<(String, Vec<MarkedBox>)>, difficult: bool| {
        boxes
            .into_iter()
            .map(|(id, boxes)| {
                let plain =
                    boxes.into_iter().map(|marked| (marked.corners, marked.class, marked.flags.difficult && difficult));
                (id, plain.collect::<Vec<_>>())
            })
            .collect::<Vec<_>>()
    };
    let coco = form(&own, BoxForm::Coco, "coco");
    assert_eq!((plain(marked(&coco), true), coco.classes()), (plain(marked(&own), true), own.classes()));
    let voc = form(&coco, BoxForm::Voc, "voc");
    assert_eq!((plain(marked(&voc), true), voc.classes()), (plain(marked(&own), true), own.classes()));
    // YOLO has no place for difficult boxes.
    let yolo = form(&voc, BoxForm::Yolo, "yolo");
    assert_eq!((plain(marked(&yolo), false), yolo.classes()), (plain(marked(&own), false), own.classes()));
    let back = form(&yolo, BoxForm::Coco, "back");
    assert_eq!(plain(marked(&back), false), plain(marked(&own), false));
    let again = form(&back, BoxForm::Yolo, "again");
    assert_eq!(plain(marked(&again), false), plain(marked(&own), false));
    let of =
        |name: &str, n: usize| std::fs::read_to_string(root.path().join(format!("{name}/labels/{n}.txt"))).unwrap();
    assert_eq!((of("yolo", 0), of("yolo", 2)), (of("again", 0), String::new()), "to the byte");
}

#[test]
fn what_a_form_has_no_place_for_is_counted() {
    let root = tempfile::tempdir().unwrap();
    for (name, width, height) in [("000000558840.jpg", 320, 240), ("sub/empty.png", 40, 30), ("7.png", 64, 48)] {
        write_image(&root.path().join(name), width, height);
    }
    write(&root.path().join("c.json"), COCO);
    let coco = open(&root.path().join("c.json"));
    let yolo = convert(&coco, BoxForm::Yolo, &root.path().join("yolo")).unwrap();
    assert_eq!((yolo.images, yolo.boxes, yolo.left_out, yolo.without_area), (3, 1, 2, 1));
    let written = std::fs::read_to_string(root.path().join("yolo/labels/000000558840.txt")).unwrap();
    // (199.84 + 77.71 / 2) / 320 = 0.745921875, and so on.
    let numbers: Vec<f64> = written.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let expected = [1.0, (199.84 + 77.71 / 2.0) / 320.0, (200.46 + 70.88 / 2.0) / 240.0, 77.71 / 320.0, 70.88 / 240.0];
    assert!(numbers.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{written}");
    let plain = root.path().join("plain");
    write_image(&plain.join("a.png"), 4, 4);
    let none = Dataset::open(&plain, &with_fields()).unwrap();
    assert!(matches!(convert(&none, BoxForm::Coco, &root.path().join("none")), Err(ConvertError::NoBoxes)));
}

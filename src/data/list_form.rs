//! How a list of images is written: its delimiter, whether it has a header, and what its columns are.
//!
//! With a header, the images are named by the first of [`PATHS`] that is among its columns, their classes by the first of
//! [`LABELS`] and their ids by `id`, whatever the case and whether words are joined by `_`, `-` or a space. Without one, a line
//! is a path, or a path and a label in either order, or a number, a label and a path between tabs (the `.lst` files of MXNet);
//! a path is told by its ending, or by the file being there. Cells are divided by commas, semicolons, tabs or spaces: by the
//! first of these that makes such columns of the first line.

use std::path::Path;

use super::error::TableProblem;
use super::folder::has_image_ending;

/// Names of the column of paths; of several, the first here.
pub(super) const PATHS: [&str; 12] = [
    "path",
    "image_path",
    "img_path",
    "file_path",
    "filepath",
    "file_name",
    "filename",
    "file",
    "image_file",
    "image_name",
    "image",
    "img",
];

/// Names of the column of labels; of several, the first here. Names of classes come before their numbers.
pub(super) const LABELS: [&str; 12] = [
    "label",
    "class",
    "category",
    "target",
    "class_name",
    "classname",
    "category_name",
    "label_name",
    "class_id",
    "category_id",
    "label_id",
    "class_index",
];

/// The column of ids.
const ID: &str = "id";

/// The first of `wanted` that is among `names`, and its place there.
pub(super) fn first_of<'a>(wanted: &[&str], names: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
    let plain = |name: &str| name.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    wanted.iter().find_map(|wanted| names.clone().position(|name| plain(name) == *wanted))
}

/// The place of the id among column names.
pub(super) fn id_of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
    first_of(&[ID], names)
}

/// What divides the cells of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// A byte; cells may be quoted.
    Byte(u8),
    /// Spaces. Of two columns the path may have some too.
    Spaces,
    /// Nothing: a line is a path.
    None,
}

/// The form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) delimiter: Delimiter,
    /// Whether the first line says what the columns are.
    pub(super) header: bool,
    pub(super) columns: usize,
    /// Places of the columns.
    pub(super) path: usize,
    pub(super) label: Option<usize>,
    pub(super) id: Option<usize>,
}

/// What divides cells, in the order in which it is looked for.
const DELIMITERS: [Delimiter; 4] =
    [Delimiter::Byte(b','), Delimiter::Byte(b';'), Delimiter::Byte(b'\t'), Delimiter::Spaces];

impl Form {
    /// The form of a list in the folder `root` whose first line this is; `None` where no image is named.
    pub(super) fn of(first: &str, root: &Path) -> Option<Form> {
        let first = first.trim_matches(['\r', '\n']);
        with_header(first).or_else(|| without_header(first, root))
    }

    /// The cells of a line that is divided by spaces, or not at all.
    pub(super) fn cells<'a>(&self, line: &'a str) -> Vec<&'a str> {
        let line = line.trim();
        match (self.delimiter, self.columns, self.path) {
            (Delimiter::None, _, _) => vec![line],
            (_, 2, 0) if !line.starts_with('"') => match line.rsplit_once([' ', '\t']) {
                Some((path, label)) => vec![path.trim_end(), label],
                None => vec![line],
            },
            (_, 2, 1) if !line.starts_with('"') => match line.split_once([' ', '\t']) {
                Some((label, path)) => vec![label, unquoted(path.trim_start())],
                None => vec![line],
            },
            _ => between_spaces(line),
        }
    }
}

fn with_header(first: &str) -> Option<Form> {
    let of = |delimiter: Delimiter| {
        let cells = split(first, delimiter);
        let names = cells.iter().map(String::as_str);
        let (label, id) = (first_of(&LABELS, names.clone()), id_of(names.clone()));
        Some(Form { delimiter, header: true, columns: cells.len(), path: first_of(&PATHS, names)?, label, id })
    };
    let whole: Vec<Form> = DELIMITERS.into_iter().filter_map(of).collect();
    // `file name` alone is one column; `path label` is two.
    let several = |form: &&Form| form.columns > 1 && (form.delimiter != Delimiter::Spaces || form.label.is_some());
    whole.iter().find(several).or(whole.first()).copied()
}

fn without_header(first: &str, root: &Path) -> Option<Form> {
    let alone = Form { delimiter: Delimiter::None, header: false, columns: 1, path: 0, label: None, id: None };
    let exists = |cell: &str| !cell.is_empty() && root.join(cell.replace('\\', "/")).is_file();
    if exists(first.trim()) {
        return Some(alone);
    }
    let is_image = |cell: &String| has_image_ending(Path::new(cell)) || exists(cell);
    let of = |delimiter: Delimiter| {
        let mut cells = split(first, delimiter);
        if delimiter == Delimiter::Spaces && cells.len() > 2 && !first.contains('"') {
            // A path with spaces, and a label before or after it.
            let ends_in_image = cells.last().is_some_and(is_image);
            let two = if ends_in_image { first.trim().split_once(' ') } else { first.trim().rsplit_once(' ') };
            cells = two.map(|(a, b)| vec![a.to_owned(), b.trim().to_owned()])?;
        }
        let images: Vec<usize> = (0..cells.len()).filter(|at| cells.get(*at).is_some_and(is_image)).collect();
        let [path] = images[..] else { return None };
        let label = match cells.len() {
            2 => 1 - path,
            // `index`, `label`, `path`.
            3 if path == 2 && cells[..2].iter().all(|cell| cell.parse::<f64>().is_ok()) => 1,
            _ => return None,
        };
        Some(Form { delimiter, header: false, columns: cells.len(), path, label: Some(label), id: None })
    };
    // A path with spaces and nothing else has no label before it.
    let spaced = |form: &Form| form.delimiter == Delimiter::Spaces && form.path == 1 && !is_number(first);
    let found = DELIMITERS.into_iter().find_map(of).filter(|form| !spaced(form));
    found.or_else(|| {
        let images = |delimiter: &Delimiter| split(first, *delimiter).iter().filter(|cell| is_image(cell)).count();
        let several = DELIMITERS.iter().any(|delimiter| *delimiter != Delimiter::Spaces && images(delimiter) > 1);
        (!several && has_image_ending(Path::new(first.trim()))).then_some(alone)
    })
}

/// Whether the first word of a line is a number.
fn is_number(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| word.parse::<f64>().is_ok())
}

/// The cells of a first line.
fn split(line: &str, delimiter: Delimiter) -> Vec<String> {
    match delimiter {
        Delimiter::Byte(byte) => {
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .delimiter(byte)
                .trim(csv::Trim::All)
                .from_reader(line.as_bytes());
            let record = reader.records().next().and_then(Result::ok).unwrap_or_default();
            record.iter().map(str::to_owned).collect()
        }
        Delimiter::Spaces => between_spaces(line).into_iter().map(str::to_owned).collect(),
        Delimiter::None => vec![line.to_owned()],
    }
}

/// The words of a line; one in quotes may hold spaces.
fn between_spaces(line: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let quoted = rest.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (cell, after) = match quoted {
            Some(found) => found,
            None => rest.split_once([' ', '\t']).unwrap_or((rest, "")),
        };
        cells.push(cell);
        rest = after.trim_start();
    }
    cells
}

fn unquoted(cell: &str) -> &str {
    cell.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(cell)
}

/// Whether a file with these first two lines is a table of pixels rather than a list: most of a line are numbers.
pub(super) fn holds_numbers(first: &str, second: &str) -> bool {
    let numbers = |line: &str| {
        let cells = split(line, Delimiter::Byte(b','));
        let numbers = cells.iter().filter(|cell| cell.parse::<f64>().is_ok()).count();
        cells.len() > 1 && 2 * numbers > cells.len()
    };
    first.trim().is_empty() || numbers(first) || numbers(second)
}

/// What to say of a file whose first line names no image.
pub(super) fn no_list(first: &str) -> TableProblem {
    let cells = DELIMITERS.into_iter().map(|delimiter| split(first, delimiter)).find(|cells| cells.len() > 1);
    let found = cells.unwrap_or_else(|| vec![first.trim().to_owned()]);
    let found = found.iter().take(8).map(|cell| cell.chars().take(40).collect()).collect();
    TableProblem::NoPaths { found }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "an unwrap that fails is the test failing")]
mod tests {
    use super::*;

    /// Delimiter, whether there is a header, places of path and label.
    type Found = Option<(Delimiter, bool, usize, Option<usize>)>;

    fn form(first: &str) -> Found {
        let form = Form::of(first, Path::new("/nowhere"))?;
        Some((form.delimiter, form.header, form.path, form.label))
    }

    #[test]
    fn usual_first_lines_are_told_apart() {
        let byte = |byte: u8| Delimiter::Byte(byte);
        let cases: &[(&str, Found)] = &[
            ("path,label", Some((byte(b','), true, 0, Some(1)))),
            ("path", Some((byte(b','), true, 0, None))),
            ("Class;File Name;note", Some((byte(b';'), true, 1, Some(0)))),
            ("\"image-path\"\t\"category\"", Some((byte(b'\t'), true, 0, Some(1)))),
            ("img class_id", Some((Delimiter::Spaces, true, 0, Some(1)))),
            ("file name", Some((byte(b','), true, 0, None))),
            // Of several, the first of those that are known.
            ("class,label,image,filename", Some((byte(b','), true, 3, Some(1)))),
            ("target_name,class_id,category,file", Some((byte(b','), true, 3, Some(2)))),
            ("a/1.png,cat", Some((byte(b','), false, 0, Some(1)))),
            ("3;a\\1.JPG", Some((byte(b';'), false, 1, Some(0)))),
            ("a/1.png 3", Some((Delimiter::Spaces, false, 0, Some(1)))),
            ("a/my cat.png 3", Some((Delimiter::Spaces, false, 0, Some(1)))),
            ("3 a/my cat.png", Some((Delimiter::Spaces, false, 1, Some(0)))),
            ("\"a/my cat.png\" 3", Some((Delimiter::Spaces, false, 0, Some(1)))),
            ("a/my cat.png", Some((Delimiter::None, false, 0, None))),
            ("12\t3.000000\ta/1.png", Some((byte(b'\t'), false, 2, Some(1)))),
            ("a.png,b.png", None),
            ("a.png,1,2,3", None),
            ("1,2,3,4,5", None),
            ("url,label", None),
            ("", None),
        ];
        for (first, expected) in cases {
            assert_eq!(form(first), *expected, "`{first}`");
        }
    }

    #[test]
    fn a_file_that_is_there_is_a_path_whatever_its_ending() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("one two"), b"").unwrap();
        let of = |first: &str| Form::of(first, root.path()).map(|form| (form.delimiter, form.path, form.label));
        assert_eq!(of("one two"), Some((Delimiter::None, 0, None)));
        assert_eq!(of("one two,7"), Some((Delimiter::Byte(b','), 0, Some(1))));
        assert_eq!(of("one three,7"), None);
    }

    #[test]
    fn a_line_of_two_words_or_more_is_a_path_and_a_label() {
        let of = |first: &str, line: &str| {
            let form = Form::of(first, Path::new("/nowhere")).unwrap();
            form.cells(line).join("|")
        };
        assert_eq!(of("path label", "a/my  cat.png   tabby"), "a/my  cat.png|tabby");
        assert_eq!(of("path label", "\"a/my cat.png\" \"tabby cat\""), "a/my cat.png|tabby cat");
        assert_eq!(of("label path", "tabby a/my cat.png"), "tabby|a/my cat.png");
        assert_eq!(of("path label split", "a.png tabby train"), "a.png|tabby|train");
        assert_eq!(of("a b.png", "c d.png\r"), "c d.png");
    }

    #[test]
    fn tables_of_pixels_are_mostly_numbers() {
        assert!(holds_numbers("1,2,3,4,x", "") && holds_numbers("label,p0,p1", "7,0,1.0") && holds_numbers("", ""));
        assert!(!holds_numbers("a,b", "c.png,7") && !holds_numbers("picture,kind", "a,b"));
    }
}

"""What other programs read of a selection with boxes: read_boxes.py FOLDER.

`to-label.coco.json` by pycocotools, `to-label-voc` by torchvision's VOCDetection, `to-label-yolo` by ultralytics. Prints, for each
program, the boxes of each image as class, left, top, right and bottom.
"""

import contextlib
import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
found = {}

with contextlib.redirect_stdout(sys.stderr):
    from pycocotools.coco import COCO

    coco = COCO(folder / "to-label.coco.json")
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}

    def of_coco(image):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        boxes = [(names[a["category_id"]], a["bbox"]) for a in annotations]
        return [(name, [x, y, x + w, y + h]) for name, (x, y, w, h) in boxes]

    found["pycocotools"] = {image["file_name"]: of_coco(image) for image in coco.loadImgs(coco.getImgIds())}

    from torchvision.datasets import VOCDetection

    # It looks for ROOT/VOCdevkit/VOC2012, for lists of its own names, and for images that end in .jpg, whatever they are.
    voc, root = (folder / "to-label-voc").resolve(), folder / "voc-root/VOCdevkit/VOC2012"
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    (root / "Annotations").symlink_to(voc / "Annotations")
    (root / "ImageSets/Main/train.txt").write_text((voc / "ImageSets/Main/all.txt").read_text())
    for image in (voc / "JPEGImages").iterdir():
        (root / "JPEGImages" / f"{image.stem}.jpg").symlink_to(image)
    found["torchvision"] = {}
    for image, target in VOCDetection(folder / "voc-root", year="2012", image_set="train"):
        annotation = target["annotation"]
        assert image.size == (int(annotation["size"]["width"]), int(annotation["size"]["height"]))
        boxes = []
        for marked in annotation.get("object", []):
            sides = [float(marked["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")]
            # VOC counts pixels from 1, and the last one is inside.
            boxes.append((marked["name"], [sides[0] - 1, sides[1] - 1, *sides[2:]]))
        found["torchvision"][annotation["filename"]] = boxes

    from ultralytics.data import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(folder / "to-label-yolo/data.yaml"), autodownload=False)
    dataset = YOLODataset(img_path=data["train"], data=data, task="detect", augment=False)
    found["ultralytics"] = {}
    for label in dataset.labels:
        height, width = label["shape"]
        boxes = []
        for (number,), (x, y, w, h) in zip(label["cls"].tolist(), label["bboxes"].tolist()):
            corners = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
            boxes.append((data["names"][int(number)], corners))
        found["ultralytics"][pathlib.Path(label["im_file"]).name] = boxes

print(json.dumps(found))

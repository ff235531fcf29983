"""People in front of a running Label Studio, by its API: label_studio.py URL TOKEN TASKS INTERFACE IMAGES EXPORT.

Makes a project with our interface, adds the folder of images, imports our tasks, annotates them (accepts what was predicted; skips
the second, leaves out the third, and of boxes hands the fourth in without any), and saves the project's JSON export. Prints what it saw as
JSON.
"""

import json
import sys
import urllib.parse
import urllib.request

# As its data manager asks for it; a plain parameter `ordering` is passed over.
ORDER = urllib.parse.quote(json.dumps({"ordering": ["tasks:predictions_score"]}))
url, token, tasks, interface, images, export = sys.argv[1:]


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers, method=method)) as answer:
        return answer.read()


def ask(method, path, body=None):
    return json.loads(call(method, path, body))


with open(tasks, encoding="utf-8") as file:
    sent = json.load(file)
with open(interface, encoding="utf-8") as file:
    config = file.read()
project = ask("POST", "/api/projects", {"title": "isal", "label_config": config})["id"]
ask("POST", "/api/storages/localfiles", {"project": project, "path": images, "title": "images", "use_blob_urls": False})
# The other way round, so that the order of import is not the order asked for.
imported = ask("POST", f"/api/projects/{project}/import", sent[::-1])
# It orders by the predictions of the version that the project shows.
ask("PATCH", f"/api/projects/{project}", {"model_version": sent[0]["predictions"][0]["model_version"]})
# The order of its data manager, by the score of predictions, ascending.
listed = ask("GET", f"/api/tasks?project={project}&fields=all&page_size=1000&query={ORDER}")["tasks"]
shown = call("GET", listed[0]["data"]["image"])
ids = {task["data"]["id"]: task["id"] for task in listed}
for place, task in enumerate(sent):
    annotation = {"result": task["predictions"][0]["result"]}
    if place == 1:
        annotation = {"result": [], "was_cancelled": True}
    if place == 3 and "<RectangleLabels" in config:
        annotation = {"result": []}
    if place != 2:
        call("POST", f"/api/tasks/{ids[task['data']['id']]}/annotations", annotation)
with open(export, "wb") as file:
    file.write(call("GET", f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true"))
print(json.dumps({
    "tasks": imported["task_count"],
    "predictions": imported["prediction_count"],
    "order": [task["data"]["id"] for task in listed],
    "first_image": list(shown[:8]),
}))

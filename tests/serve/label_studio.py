"""Label Studio with our ML backend, by its API: label_studio.py URL TOKEN TASKS INTERFACE BACKEND PASSWORD.

Makes a project, imports tasks, connects the backend, retrieves predictions for all tasks, annotates one, and prints the tasks as the data
manager orders them by the score of predictions, ascending.
"""

import json
import sys
import time
import urllib.parse
import urllib.request

# As its data manager asks for it; a plain parameter `ordering` is passed over.
ORDER = urllib.parse.quote(json.dumps({"ordering": ["tasks:predictions_score"]}))
url, token, tasks, interface, backend, password = sys.argv[1:]


def ask(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers, method=method)) as answer:
        return json.loads(answer.read())


with open(interface, encoding="utf-8") as file:
    project = ask("POST", "/api/projects", {"title": "isal", "label_config": file.read()})["id"]
with open(tasks, encoding="utf-8") as file:
    ask("POST", f"/api/projects/{project}/import", json.load(file))
connection = {"project": project, "url": backend, "title": "isal", "auth_method": "BASIC_AUTH", "basic_auth_user": "any"}
ml = ask("POST", "/api/ml", {**connection, "basic_auth_pass": password})["id"]
began = time.monotonic()
everything = {"selectedItems": {"all": True, "excluded": []}, "ordering": [], "filters": {"conjunction": "and", "items": []}}
ask("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", {**everything, "project": project})
seconds = time.monotonic() - began
# It orders by the predictions of the version that the project shows, which is the connection's title until somebody chooses one.
version = ask("GET", f"/api/tasks?project={project}&fields=all&page_size=1")["tasks"][0]["predictions"][0]["model_version"]
ask("PATCH", f"/api/projects/{project}", {"model_version": version})
shown, page = [], 1
total = None
while total is None or len(shown) < total:
    path = f"/api/tasks?project={project}&fields=all&page_size=1000&page={page}&query={ORDER}"
    listed = ask("GET", path)
    total, page = listed["total"], page + 1
    for task in listed["tasks"]:
        prediction = task["predictions"][0] if task["predictions"] else {}
        choices = [result["value"]["choices"][0] for result in prediction.get("result", [])]
        shown.append({"number": task["data"]["number"], "score": prediction.get("score"), "choice": (choices or [None])[0]})
        first = task
ask("POST", f"/api/tasks/{first['id']}/annotations", {"result": first["predictions"][0]["result"]})
state = ask("GET", f"/api/ml/{ml}")["readable_state"]
print(json.dumps({"tasks": shown, "state": state, "seconds": round(seconds, 1)}))

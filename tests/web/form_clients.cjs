// node form_clients.cjs CLIENT '{"url", "key", "path", "name", "title"}': sends one form, prints the answer.
const fs = require("node:fs");

const [client, options] = [process.argv[2], JSON.parse(process.argv[3])];
const { url, key, path, name, title } = options;
const headers = { "X-API-Key": key };

function classic() {
  // The package form-data, which axios and got send; it writes names as they are up to 4.0.5.
  const form = new (require("form-data"))();
  form.append("title", title);
  form.append("file", fs.createReadStream(path), { filename: name });
  return form;
}

function standard(FormData, Blob) {
  const form = new FormData();
  form.set("title", title);
  form.set("file", new Blob([fs.readFileSync(path)]), name);
  return form;
}

const clients = {
  async axios() {
    const form = classic();
    const answer = await require("axios").post(url, form, { headers: { ...headers, ...form.getHeaders() } });
    return answer.data;
  },
  async got() {
    const { default: got } = await import("got");
    return got.post(url, { body: classic(), headers }).json();
  },
  async undici() {
    const { fetch, FormData } = require("undici");
    const answer = await fetch(url, { method: "POST", headers, body: standard(FormData, Blob) });
    return answer.json();
  },
  async superagent() {
    const request = require("superagent").post(url).set(headers).field("title", title);
    return (await request.attach("file", path, name)).body;
  },
};

clients[client]()
  .then((answer) => console.log(JSON.stringify(answer)))
  .catch((error) => {
    console.error(error, error.response?.body ?? error.response?.data);
    process.exit(1);
  });

// Upload a file with tus-js-client: node tus_client.cjs <modules> <options as JSON>; prints its address.
const fs = require("fs");
const { PassThrough } = require("stream");
const [modules, given] = process.argv.slice(2);
const tus = require(`${modules}/node_modules/tus-js-client`);
const { file, name, key, chunk, url, urls, retries, stop_at, extra, endpoint } = JSON.parse(given);

async function run() {
  let stopped = false;
  const path = fs.createReadStream(file);
  // It looks for the end of a file that it can tell the length of in vain when that is not to be told.
  const source = extra.uploadLengthDeferred ? path.pipe(new PassThrough()) : path;
  const upload = new tus.Upload(source, {
    endpoint,
    uploadUrl: url,
    headers: { "X-API-Key": key },
    metadata: { filename: name },
    chunkSize: chunk || Infinity,
    retryDelays: Array(retries).fill(100),
    urlStorage: new tus.FileUrlStorage(urls),
    ...extra,
    onProgress: async (sent) => {
      if (stop_at === null || sent < stop_at || stopped) return;
      stopped = true;
      await upload.abort();
      console.log(upload.url);
    },
    onError: (error) => {
      console.error(String(error));
      process.exitCode = 1;
    },
    onSuccess: () => console.log(upload.url),
  });
  const previous = await upload.findPreviousUploads();
  if (previous.length) upload.resumeFromPreviousUpload(previous[0]);
  upload.start();
}

run();

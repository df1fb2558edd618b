"use strict";

const place = document.getElementById("page");

SwaggerUIBundle({
  url: place.dataset.document,
  domNode: place,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  // Its own value would send the document to a host elsewhere.
  validatorUrl: null,
});

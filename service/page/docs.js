// Shows the API document; the key, where one is wanted, is what sign_in.js left in this window's memory.
"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    if (window.calibrantKey) request.headers.Authorization = `Bearer ${window.calibrantKey}`;
    return request;
  },
});

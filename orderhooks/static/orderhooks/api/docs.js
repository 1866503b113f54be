// Shows the document in Swagger UI; what is sent from there passes Django's CSRF check.
"use strict";

const page = document.getElementById("docs").dataset;
SwaggerUIBundle({
  url: page.document,
  dom_id: "#docs",
  deepLinking: true,
  requestInterceptor(request) {
    if (!request.loadSpec && new URL(request.url, location.href).origin === location.origin) {
      request.headers[page.csrfHeader] = page.csrfToken;
    }
    return request;
  },
});

// Shows the document in Redoc, in fonts that are there: none is fetched.
"use strict";

const place = document.getElementById("docs");
Redoc.init(
  place.dataset.document,
  { hideDownloadButtons: true, theme: { typography: { fontFamily: "sans-serif", headings: { fontFamily: "sans-serif" } } } },
  place,
);

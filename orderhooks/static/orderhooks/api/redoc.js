// Shows the document in Redoc, with fonts that are there. Its own logo would come from elsewhere: it is left out, as the
// page's policy lets nothing in and the browser would complain.
"use strict";

const isElsewhere = (address) => new URL(address, location.href).origin !== location.origin && !/^data:/.test(address);
const image = HTMLImageElement.prototype;
const { setAttribute } = image;
const { set } = Object.getOwnPropertyDescriptor(image, "src");
image.setAttribute = function (name, value) {
  if (name !== "src" || !isElsewhere(value)) setAttribute.call(this, name, value);
};
Object.defineProperty(image, "src", {
  set(value) {
    if (!isElsewhere(value)) set.call(this, value);
  },
});

const place = document.getElementById("docs");
const typography = { fontFamily: "sans-serif", headings: { fontFamily: "sans-serif" } };
Redoc.init(place.dataset.document, { hideDownloadButtons: true, theme: { typography } }, place);

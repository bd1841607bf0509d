// Says why nothing loads. A classic script, in old syntax: it runs where the page's modules do not.

(function () {
  var isFile = location.protocol === "file:"; // from which no browser loads modules
  var hasFailed = isFile;
  function show() {
    if (!hasFailed || document.readyState === "loading") return;
    /** @type {HTMLElement | null} */
    var message = document.querySelector(isFile ? "#openedAsFile" : "#notStarted");
    if (message) message.hidden = false;
    document.documentElement.classList.add("not-started");
  }
  /** @param {Event} event */
  function fail(event) {
    hasFailed = hasFailed || event.target === window || event.target instanceof HTMLScriptElement;
    show();
  }
  window.addEventListener("error", fail, true); // a script that is not loaded tells only those who listen so
  document.addEventListener("DOMContentLoaded", show);
  document.addEventListener("started", function () {
    window.removeEventListener("error", fail, true);
  });
})();

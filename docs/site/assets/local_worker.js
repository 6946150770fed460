// The search of the site runs in a worker, and browsers start none on pages that are opened as files.
// There, a hidden frame runs the worker's script instead, behind the same calls.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(address) {
      this.onmessage = null;
      this.waiting = [];
      this.inside = null; // the window of the frame, once its script runs
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      this.frame.srcdoc = "<!doctype html><title>search</title>";
      this.frame.addEventListener("load", () => this.#start(new URL(address, location.href)), { once: true });
      document.documentElement.append(this.frame);
    }

    #start(address) {
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => setTimeout(() => this.onmessage?.({ data }));
      const script = inside.document.createElement("script");
      script.addEventListener("load", () => {
        this.inside = inside;
        this.waiting.splice(0).forEach((data) => this.postMessage(data));
      });
      script.src = address.href;
      inside.document.head.append(script);
    }

    postMessage(data) {
      if (this.inside) setTimeout(() => this.inside?.onmessage?.({ data }));
      else this.waiting.push(data);
    }

    terminate() {
      this.frame.remove();
      this.inside = null;
    }
  };
}

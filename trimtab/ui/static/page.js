// Refreshes the page's changing part: soon after an event, and every two seconds while somebody looks.
"use strict";
const main = document.getElementById("main");
let busy = false;

async function refresh() {
  if (busy || document.hidden) return;
  busy = true;
  try {
    const answer = await fetch("/ui/main", { cache: "no-store" });
    if (!answer.ok) return;
    const open = new Set([...main.querySelectorAll("details[open]")].map((item) => item.id));
    main.innerHTML = await answer.text();
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  } catch {
    // The process restarts; the next turn finds it again.
  } finally {
    busy = false;
  }
}

setInterval(refresh, 2000);
document.addEventListener("visibilitychange", refresh);
const events = new EventSource("/mlops/events?topics=model-events,deployments,drift-signals,loop-events");
for (const type of ["trimtab.model.registered.v1", "trimtab.model.promoted.v1", "trimtab.deployment.wanted.v1",
  "trimtab.drift.found.v1", "trimtab.performance.worse.v1", "trimtab.loop.stepped.v1"]) {
  events.addEventListener(type, refresh);
}

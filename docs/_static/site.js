// What the theme leaves out for people who use a keyboard or a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  for (const wide of document.querySelectorAll("pre, .table-wrapper, .formula, .flow")) wide.tabIndex = 0; // scrolled by key
  for (const summary of document.querySelectorAll("summary[aria-label]")) summary.removeAttribute("aria-label"); // it has a text
  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "This page");
  if (!document.querySelector("h1")) { // the search
    const heading = document.createElement("h1");
    heading.textContent = "Search";
    document.querySelector("article").prepend(heading);
  }
});

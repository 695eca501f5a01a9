/**
 * The page's name, logo and link, and where its data comes from. Every field may be left out.
 * Colours are in css/colours.css.
 */
export default {
  /** In the header and in the browser's tab. */
  title: "Glance",

  /** Where a click on the title leads, such as your website. Empty: to the top of this page. */
  link: "",

  /** A square picture beside the title; relative addresses count from the page. Empty: the one that comes with Glance. */
  logo: "",

  /**
   * The address of the web service, such as "https://status.example.org/", for a page that is served from
   * somewhere else. Empty: the page asks the server that it came from.
   */
  api: "",
};

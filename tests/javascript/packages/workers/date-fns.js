import { addBusinessDays, addMonths, areIntervalsOverlapping, compareAsc, differenceInCalendarDays, differenceInMinutes, eachDayOfInterval, endOfMonth, format, formatDistance, formatDistanceStrict, formatDuration, formatISO, formatRelative, getISOWeek, getQuarter, intervalToDuration, intlFormat, isLeapYear, isValid, isWithinInterval, lightFormat, nextMonday, parse, parseISO, roundToNearestMinutes, startOfWeek } from "date-fns";
import { de, eo, ja } from "date-fns/locale";
import { examples, thrownBy } from "./examples.js";

const day = new Date(2014, 1, 11);

export default examples([
  ["format", () => [format(day, "MM/dd/yyyy"), format(day, "do 'of' MMMM yyyy"), format(new Date(2014, 6, 2, 15), "h 'o''clock' a")], ["02/11/2014", "11th of February 2014", "3 o'clock PM"]],
  ["in other languages", () => [format(day, "eeee, do MMMM yyyy", { locale: de }), format(new Date(2014, 6, 2), "do 'de' MMMM yyyy", { locale: eo }), format(day, "PPPP", { locale: ja })], ["Dienstag, 11. Februar 2014", "2-a de julio 2014", "2014年2月11日火曜日"]],
  ["long forms", () => format(new Date(2017, 4, 29, 12, 30), "PPPppp"), "May 29th, 2017 at 12:30:00 PM GMT+0"],
  ["sums", () => [addMonths(new Date(2014, 0, 31), 1), addBusinessDays(new Date(2014, 8, 1), 10), endOfMonth(new Date(2014, 8, 2)), startOfWeek(new Date(2014, 8, 2), { weekStartsOn: 1 }), nextMonday(new Date(2020, 2, 23))].map((date) => formatISO(date, { representation: "date" })), ["2014-02-28", "2014-09-15", "2014-09-30", "2014-09-01", "2020-03-30"]],
  ["differences", () => [differenceInCalendarDays(new Date(2012, 6, 2), new Date(2011, 6, 2, 23)), differenceInMinutes(new Date(2014, 6, 2, 12, 20), new Date(2014, 6, 2, 12, 7, 59)), compareAsc(new Date(1987, 1, 11), day)], [366, 12, -1]],
  ["distances in words", () => [formatDistance(new Date(2014, 6, 2), new Date(2015, 0, 1)), formatDistance(new Date(2015, 0, 1), new Date(2015, 0, 1, 0, 0, 15), { includeSeconds: true }), formatDistanceStrict(new Date(2014, 6, 2), new Date(2015, 0, 2)), formatDistance(new Date(2016, 7, 1), new Date(2015, 0, 1), { locale: de, addSuffix: true })], ["6 months", "less than 20 seconds", "6 months", "in mehr als 1 Jahr"]],
  ["relative to another day", () => formatRelative(new Date(2014, 6, 1, 15), new Date(2014, 6, 2)), "yesterday at 3:00 PM"],
  ["reading", () => [parse("02/11/2014", "MM/dd/yyyy", new Date()), parse("28-a de februaro", "do 'de' MMMM", new Date(2010, 0, 1), { locale: eo }), parseISO("2014-02-11T11:30:30+01:00")].map((date) => date.toISOString()), ["2014-02-11T00:00:00.000Z", "2010-02-28T00:00:00.000Z", "2014-02-11T10:30:30.000Z"]],
  ["what is no date", () => [isValid(parseISO("2014-02-30")), isValid(new Date(NaN))], [false, false]],
  ["intervals", () => [eachDayOfInterval({ start: new Date(2014, 9, 6), end: new Date(2014, 9, 10) }).length, isWithinInterval(new Date(2014, 0, 3), { start: new Date(2014, 0, 1), end: new Date(2014, 0, 7) }), areIntervalsOverlapping({ start: new Date(2014, 0, 10), end: new Date(2014, 0, 20) }, { start: new Date(2014, 0, 20), end: new Date(2014, 0, 21) })], [5, true, false]],
  ["durations", () => formatDuration(intervalToDuration({ start: new Date(1929, 0, 15, 12), end: new Date(1968, 3, 4, 19, 5) })), "39 years 2 months 20 days 7 hours 5 minutes"],
  ["calendars", () => [getISOWeek(new Date(2005, 0, 2)), getQuarter(new Date(2014, 6, 2)), isLeapYear(new Date(2012, 8, 1))], [53, 3, true]],
  ["rounding and light formats", () => [lightFormat(roundToNearestMinutes(new Date(2014, 6, 10, 12, 10, 30)), "HH:mm:ss")], ["12:11:00"]],
  ["a token that is easily mistaken is refused", () => thrownBy(() => format(day, "YYYY")).then((told) => told.slice(0, 38)), "RangeError: Use `yyyy` instead of `YYY"],
  // The engine has no Intl.
  ["intlFormat is refused", () => thrownBy(() => intlFormat(day)), "ReferenceError: Intl is not defined"],
]);

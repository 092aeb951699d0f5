// Mail of make-believe: the server of the tests, filled with a few letters, for `make shots`.
import { Mail } from "../engine/jmap/mail.ts";
import type { AuthorisedFetch } from "../engine/jmap/line.ts";
import { getLocale, type Locale } from "../app/locale.svelte.ts";
import { FakeServer } from "../../test/mail/fake_server.ts";
import { people } from "./data.ts";

/** Subject and text of each letter. */
interface Letters {
  contract: [string, string, string]; // and what was answered
  library: [string, string];
  friday: [string, string];
  rota: [string, string];
  visit: [string, string];
}

const letters: Record<Locale, Letters> = {
  en: {
    contract: ["The contract for the garden", "Dear Aýna,\n\nhere is the contract as we spoke of it. Please look at the second page, and tell me if the date is right.\n\nKerim", "Thank you, I read it this evening. The date is right."],
    library: ["New in March", "From this month the reading room is open until nine in the evening."],
    friday: ["Friday at six?", "Shall we meet at the second gate, as the last time? I bring the photographs."],
    rota: ["Rota for next week", "The rota is ready. You have Tuesday and Thursday."],
    visit: ["Visit in May", "We arrive on the twelfth and stay for a week. Is the guest house still open?"],
  },
  tk: {
    contract: ["Bag barada şertnama", "Hormatly Aýna,\n\nşertnamany gepleşişimiz ýaly iberýärin. Ikinji sahypa serediň, senesi dogrumy, aýdyň.\n\nKerim", "Sag boluň, şu agşam okaryn. Senesi dogry."],
    library: ["Mart aýynda täzelikler", "Şu aýdan okalga zaly agşam sagat dokuza çenli açyk."],
    friday: ["Anna güni sagat altyda?", "Geçen gezekki ýaly ikinji derwezäniň ýanynda duşuşarysmy? Suratlary getirýärin."],
    rota: ["Indiki hepdäniň nobat sanawy", "Sanaw taýýar. Size sişenbe we penşenbe düşdi."],
    visit: ["Maý aýynda myhmançylyk", "Biz on ikisine gelýäris we bir hepde bolýarys. Myhmanhana açykmy?"],
  },
  ru: {
    contract: ["Договор о саде", "Уважаемая Айна,\n\nпосылаю договор, как мы говорили. Посмотрите, пожалуйста, вторую страницу и скажите, верна ли дата.\n\nКерим", "Спасибо, прочту сегодня вечером. Дата верна."],
    library: ["Новое в марте", "С этого месяца читальный зал открыт до девяти вечера."],
    friday: ["В пятницу в шесть?", "Встретимся у вторых ворот, как в прошлый раз? Фотографии принесу."],
    rota: ["График на следующую неделю", "График готов. У вас вторник и четверг."],
    visit: ["Поездка в мае", "Мы приезжаем двенадцатого на неделю. Гостевой дом ещё открыт?"],
  },
  fr: {
    contract: ["Le contrat du jardin", "Chère Aýna,\n\nvoici le contrat dont nous avons parlé. Regardez la deuxième page et dites-moi si la date est juste.\n\nKerim", "Merci, je le lis ce soir. La date est juste."],
    library: ["Nouveautés de mars", "Dès ce mois-ci la salle de lecture est ouverte jusqu’à neuf heures du soir."],
    friday: ["Vendredi à six heures ?", "On se retrouve au deuxième portail, comme la dernière fois ? J’apporte les photos."],
    rota: ["Planning de la semaine prochaine", "Le planning est prêt. Vous avez mardi et jeudi."],
    visit: ["Visite en mai", "Nous arrivons le douze et restons une semaine. La maison d’hôtes est-elle encore ouverte ?"],
  },
};

const own = (id: keyof typeof people) => ({ name: people[id], email: `${id}@kerwen.tm` });

function filled(): FakeServer {
  const server = new FakeServer();
  server.address = "ayna@kerwen.tm";
  const t = letters[getLocale()];
  const at = (days: number, hour: number, minute: number) => `${new Date(new Date().setHours(hour, minute, 0, 0) - days * 86_400_000).toISOString().slice(0, 19)}Z`;
  const [ayna, seen] = [[own("ayna")], { $seen: true }];
  const arrive = (from: { name: string; email: string }, [subject, text]: string[], receivedAt: string, more: object = {}) =>
    server.put("Email", { mailboxIds: { Minbox: true }, keywords: {}, from: [from], to: ayna, subject, text, receivedAt, messageId: [`${receivedAt}@kerwen.tm`], ...more });
  const [subject, asked, answered] = t.contract;
  const contract = { partId: null, blobId: "b1", size: 184_000, name: `${subject}.pdf`, type: "application/pdf", disposition: "attachment", cid: null };
  arrive(own("kerim"), [subject, asked], at(1, 16, 20), { keywords: { ...seen, $answered: true }, messageId: ["contract@kerwen.tm"], hasAttachment: true, attachments: [contract] });
  server.put("Email", { mailboxIds: { Msent: true }, keywords: seen, from: ayna, to: [own("kerim")], subject: `Re: ${subject}`, text: answered, receivedAt: at(1, 17, 5), messageId: ["answer@kerwen.tm"], inReplyTo: ["contract@kerwen.tm"] });
  const part = { partId: "h", blobId: "b", size: 900, name: null, type: "text/html", disposition: null, cid: null };
  const html = `<h2 style="color:#0f6f73">${t.library[0]}</h2><p>${t.library[1]}</p><img src="https://kitaphana.example/mart.png" alt="" width="400" height="120">`;
  arrive({ name: "Kitaphana", email: "habar@kitaphana.example" }, t.library, at(0, 7, 30), {
    htmlBody: [part], bodyValues: { 1: { value: t.library[1] }, h: { value: html } },
    "header:Authentication-Results:asText:all": ["kerwen.tm; spf=pass; dkim=pass; dmarc=pass"],
  });
  arrive(own("jeren"), t.friday, at(0, 9, 41), { keywords: { $flagged: true } });
  arrive(own("maral"), t.rota, at(2, 11, 15), { keywords: seen });
  arrive({ name: people.guest, email: "camille@other.example" }, t.visit, at(6, 18, 2), { keywords: seen });
  return server;
}

/** A fresh server for each page; what an earlier page kept of another one goes. */
export async function demoMail(address: string): Promise<AuthorisedFetch> {
  await Mail.erase(indexedDB, address);
  return filled().fetch;
}
